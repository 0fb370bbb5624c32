/* Where callgrind begins to count, and writes down what it has counted since the mark before. */
#include <valgrind/callgrind.h>

void rae_mark(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS;
}
