/* dispatch.c with the kernels of "base" only: with a sanitizer, all three instruction sets compile for a minute. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "rae_kernels.h"

#undef __x86_64__
#include "dispatch.c"
