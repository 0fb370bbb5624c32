/* kernels_body.h for both element types; ISA, VECTOR_BYTES, TILE_ROWS, PANEL and MASKS are the caller's. */

#define REAL float
#define INT int32_t
#define TABLE rae_table_f32
#define SOLVER rae_solver_f32
#define K(name) VERSION(name, ISA, f32)
#define TANH(name) name##_F32
#define SQRT sqrtf
#if MASKS == 512
#define MASK_LOAD(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define MASK_STORE(p, n, v) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), (__m512)(v))
#elif MASKS == 256
#define MASK_LOAD(p, n) _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(rae_masks_32 + 8 - (n))))
#define MASK_STORE(p, n, v) rae_store_some_ps(p, n, (__m256)(v))
#endif
#include "kernels_body.h"
#undef REAL
#undef INT
#undef TABLE
#undef SOLVER
#undef K
#undef TANH
#undef SQRT
#undef MASK_LOAD
#undef MASK_STORE

#define REAL double
#define INT int64_t
#define TABLE rae_table_f64
#define SOLVER rae_solver_f64
#define K(name) VERSION(name, ISA, f64)
#define TANH(name) name##_F64
#define SQRT sqrt
#if MASKS == 512
#define MASK_LOAD(p, n) _mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1), p)
#define MASK_STORE(p, n, v) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1), (__m512d)(v))
#elif MASKS == 256
#define MASK_LOAD(p, n) _mm256_maskload_pd(p, _mm256_loadu_si256((const __m256i *)(rae_masks_64 + 4 - (n))))
#define MASK_STORE(p, n, v) rae_store_some_pd(p, n, (__m256d)(v))
#endif
#include "kernels_body.h"
#undef REAL
#undef INT
#undef TABLE
#undef SOLVER
#undef K
#undef TANH
#undef SQRT
#undef MASK_LOAD
#undef MASK_STORE
