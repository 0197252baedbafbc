import socket
from collections.abc import Iterator

import pytest

from pipeline.errors import CONFIGURATION, LocalError
from pipeline.local.ports import choose_port, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_is_free_until_something_listens(taken: int) -> None:
    assert not is_free(taken)
    assert is_free(free_port())


def test_the_first_free_of_the_preferred_is_chosen(taken: int) -> None:
    first, second = free_port(), free_port()
    assert choose_port("kafka", given=None, preferred=(None, taken, first, second)) == first


def test_another_is_chosen_when_all_preferred_are_taken(taken: int) -> None:
    chosen = choose_port("kafka", given=None, preferred=(taken,))
    assert chosen != taken
    assert is_free(chosen)


def test_a_taken_port_that_the_user_gave_is_refused_with_what_to_do(taken: int) -> None:
    with pytest.raises(LocalError, match=rf"port {taken} is taken.*PIPELINE_KAFKA_PORT") as caught:
        choose_port("kafka", given=taken, preferred=(free_port(),))
    assert caught.value.exit_code == CONFIGURATION
    assert "\n" not in str(caught.value)
