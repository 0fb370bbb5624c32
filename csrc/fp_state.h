/* Subnormal numbers taken for 0, for a while and on this thread only.
 *
 * A training whose softmax has become certain is full of numbers below 1e-38, and some CPUs take a hundred
 * cycles for each: docs/performance.md, "Subnormal numbers". */
#ifndef RAE_FP_STATE_H
#define RAE_FP_STATE_H

#include <stdint.h>

#if defined(__x86_64__)
static inline uint64_t rae_fp_state(void) { return __builtin_ia32_stmxcsr(); }
static inline void rae_set_fp_state(uint64_t state) { __builtin_ia32_ldmxcsr((unsigned)state); }
#define RAE_FLUSH UINT64_C(0x8040) /* MXCSR: results to zero, operands are zero */
#elif defined(__aarch64__)
static inline uint64_t rae_fp_state(void)
{
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    return state;
}
static inline void rae_set_fp_state(uint64_t state) { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
#define RAE_FLUSH (UINT64_C(1) << 24) /* FPCR: flush to zero */
#else
static inline uint64_t rae_fp_state(void) { return 0; }
static inline void rae_set_fp_state(uint64_t state) { (void)state; }
#define RAE_FLUSH UINT64_C(0)
#endif

/* Returns the state to put back with rae_set_fp_state. */
static inline uint64_t rae_flush_subnormals(void)
{
    const uint64_t state = rae_fp_state();
    rae_set_fp_state(state | RAE_FLUSH);
    return state;
}

#endif
