/* kernels_body.h for both element types; ISA, VECTOR_BYTES and MAX_TILE are the caller's. */

#define REAL float
#define INT int32_t
#define TABLE rae_table_f32
#define K(name) VERSION(name, ISA, f32)
#define TANH(name) name##_F32
#define SQRT sqrtf
#include "kernels_body.h"
#undef REAL
#undef INT
#undef TABLE
#undef K
#undef TANH
#undef SQRT

#define REAL double
#define INT int64_t
#define TABLE rae_table_f64
#define K(name) VERSION(name, ISA, f64)
#define TANH(name) name##_F64
#define SQRT sqrt
#include "kernels_body.h"
#undef REAL
#undef INT
#undef TABLE
#undef K
#undef TANH
#undef SQRT
