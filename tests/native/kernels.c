/* Every kernel of rae_kernels.h, on every instruction set of this CPU, against plain loops: kernels MEMBERS ..., by
 * teams of so many, or alone.
 *
 * Arrays are as large as the contract says and not a byte more; tests/test_native.py compiles this with sanitizers. */
#define _DEFAULT_SOURCE
#include "check.h"
#include "rae_kernels.h"

#define REAL float
#define TABLE rae_table_f32
#define EPSILON 1.1920928955078125e-07
#define F(name) name##_f32
#include "typed.h"
#undef REAL
#undef TABLE
#undef EPSILON
#undef F

#define REAL double
#define TABLE rae_table_f64
#define EPSILON 2.220446049250313e-16
#define F(name) name##_f64
#include "typed.h"

int main(int n, char **words)
{
    for (size_t i = 0; i < RAE_N_ISAS; ++i) {
        const rae_isa *isa = rae_find_isa(RAE_ISAS[i].name);
        if (!isa) {
            EXPECT(!RAE_ISAS[i].usable());
            printf("%s: not on this CPU\n", RAE_ISAS[i].name);
            continue;
        }
        EXPECT(isa == &RAE_ISAS[i]);
        version = isa->name;
        n_checks = 0;
        for (int word = 1; word < n; ++word) {
            const size_t members = (size_t)atoi(words[word]);
            for (placing = EXACT; placing <= (members > 1 ? EXACT : GUARDED); ++placing) {
                check_f32(isa->f32, members);
                check_f64(isa->f64, members);
            }
        }
        printf("%s: %zu checks\n", isa->name, n_checks);
    }
    EXPECT(!rae_find_isa("neon9"));
    EXPECT(rae_find_isa(NULL)->usable());
    return 0;
}
