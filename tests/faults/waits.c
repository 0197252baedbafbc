/* What libfaketime leaves out: C11's timed wait for a condition, by which librdkafka waits.

   Its deadline is an instant of the wall clock. A kernel whose clock is set back in the meantime goes on waiting
   until that instant comes; one whose clock is set forward ends the wait at once. So the wait is cut into
   short ones, and between them the clock is asked, which libfaketime answers. A caller that is woken before
   its time looks whether what it waits for is there, as it must with any condition. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define LOOK_EVERY (20 * 1000000LL)

typedef int wait_function(cnd_t *, mtx_t *, const struct timespec *);

static long long nanoseconds_to(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (deadline->tv_sec - now.tv_sec) * SECOND + deadline->tv_nsec - now.tv_nsec;
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *deadline)
{
    static wait_function *wait;
    if (wait == NULL)
        wait = (wait_function *)dlsym(RTLD_NEXT, "cnd_timedwait");

    long long left = nanoseconds_to(deadline);
    if (left > LOOK_EVERY)
        left = LOOK_EVERY;
    if (left < 0)
        left = 0;

    struct timespec until; /* on the kernel's own clock */
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &until);
    until.tv_nsec += left;
    until.tv_sec += until.tv_nsec / SECOND;
    until.tv_nsec %= SECOND;

    int result = wait(condition, mutex, &until);
    return result == thrd_timedout && nanoseconds_to(deadline) > 0 ? thrd_success : result;
}
