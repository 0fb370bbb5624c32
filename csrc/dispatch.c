/* Every kernel for every instruction set, and the choice between them.
 *
 * The AVX versions are compiled by target pragmas, not by flags, so the rest of the build stays
 * portable; nothing here runs an instruction before its row's usable() has said yes. */
#include "rae_kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "log.h"
#include "tanh.h"

/* Pieces of large sums over rows (product_body.h): rows of a panel of b in L1, columns of a in half a megabyte of
 * L2. */
#define RAE_SUM_ROWS 256
#define RAE_SUM_COLUMNS 128
#define RAE_SUM_PACK 786432

#define VERSION_(name, suffix, type) rae_##name##_##suffix##_##type
#define VERSION(name, suffix, type) VERSION_(name, suffix, type)

/* ---- base: 16-byte vectors, in the baseline of x86-64 and aarch64 ------------------------------ */
#define ISA base
#define VECTOR_BYTES 16
#define MASKS 0
#if defined(__aarch64__) /* 32 registers */
#define TILE_ROWS 8
#define PANEL 2
#else
#define TILE_ROWS 4
#define PANEL 2
#endif
#include "kernels_types.h"
#undef ISA
#undef VECTOR_BYTES
#undef MASKS
#undef TILE_ROWS
#undef PANEL

static int always(void) { return 1; }

#if defined(__x86_64__)

/* A mask for the first n of 8 (4) lanes starts n before the middle. */
static const int32_t rae_masks_32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t rae_masks_64[8] = {-1, -1, -1, -1};

/* ---- AVX2 + FMA ------------------------------------------------------------------------------- */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
/* The first n lanes, piece by piece: AMD's masked stores take dozens of steps (docs/performance.md, "AVX2"). */
static inline __attribute__((always_inline)) void rae_store_some_ps(float *p, size_t n, __m256 v)
{
    __m128 x = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, x);
        x = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, x);
        x = _mm_movehl_ps(x, x);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, x);
}

static inline __attribute__((always_inline)) void rae_store_some_pd(double *p, size_t n, __m256d v)
{
    __m128d x = _mm256_castpd256_pd128(v);
    if (n & 2) {
        _mm_storeu_pd(p, x);
        x = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (n & 1)
        _mm_store_sd(p, x);
}

#define ISA avx2
#define VECTOR_BYTES 32
#define MASKS 256
#define TILE_ROWS 4
#define PANEL 3
#include "kernels_types.h"
#undef ISA
#undef VECTOR_BYTES
#undef MASKS
#undef TILE_ROWS
#undef PANEL
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* ---- AVX-512 ---------------------------------------------------------------------------------- */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma")
#endif
#define ISA avx512
#define VECTOR_BYTES 64
#define MASKS 512
#define TILE_ROWS 8
#define PANEL 3
#include "kernels_types.h"
#undef ISA
#undef VECTOR_BYTES
#undef MASKS
#undef TILE_ROWS
#undef PANEL
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
           && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

#endif

const rae_isa RAE_ISAS[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &rae_table_avx512_f32, &rae_table_avx512_f64},
    {"avx2", has_avx2, &rae_table_avx2_f32, &rae_table_avx2_f64},
#endif
    {"base", always, &rae_table_base_f32, &rae_table_base_f64},
};
const size_t RAE_N_ISAS = sizeof(RAE_ISAS) / sizeof(RAE_ISAS[0]);

const rae_isa *rae_find_isa(const char *name)
{
    for (size_t i = 0; i < RAE_N_ISAS; ++i)
        if ((!name || !strcmp(name, RAE_ISAS[i].name)) && RAE_ISAS[i].usable())
            return &RAE_ISAS[i];
    return NULL;
}
