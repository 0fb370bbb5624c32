/* Every check for one element type: REAL, TABLE, EPSILON and F(name), which adds the type, are kernels.c's. */

static REAL *F(filled)(size_t n, REAL with)
{
    REAL *x = piece(n, sizeof(REAL));
    for (size_t i = 0; i < n; ++i)
        x[i] = with;
    return x;
}

static REAL *F(rubbish)(size_t n) { return F(filled)(n, (REAL)NAN); }

static REAL *F(random)(size_t n)
{
    REAL *x = F(filled)(n, 0);
    for (size_t i = 0; i < n; ++i)
        x[i] = (REAL)drawn();
    return x;
}

static REAL *F(copy)(size_t n, const REAL *of)
{
    REAL *x = F(filled)(n, 0);
    for (size_t i = 0; i < n; ++i)
        x[i] = of[i];
    return x;
}

#include "elementwise.h"
#include "products.h"
#include "steps.h"

/* Around vectors (L lanes), pairs and triples of them, which are the widths of tiles, and two tiles. */
#define WIDTHS(L) {0, 1, 2, 3, 5, (L) - 1, (L), (L) + 1, 2 * (L) - 1, 2 * (L), 2 * (L) + 1, 3 * (L) - 1, 3 * (L), \
                   3 * (L) + 1, 6 * (L) + 1}
enum { F(N_WIDTHS) = 15, F(TEAM_WIDTHS) = 7 /* every seventh for a team: 0, L + 1 and 6 L + 1 */ };

/* The kernels that a team does not share. */
static void F(check_alone)(const TABLE *k)
{
    const size_t widths[F(N_WIDTHS)] = WIDTHS(k->lanes), heights[] = {0, 1, 2, 3, 17};
    for (size_t i = 0; i < F(N_WIDTHS); ++i) {
        F(check_copies)(k, widths[i]);
        F(check_vectors)(k, widths[i]);
        F(check_solvers)(k, widths[i]);
        for (size_t j = 0; j < sizeof heights / sizeof *heights; ++j) {
            F(check_losses)(k, heights[j], widths[i]);
            F(check_rows)(k, heights[j], widths[i]);
        }
    }
    F(check_vectors)(k, 4096 + 3); /* sums of squares in pieces of 4096; 512 vectors looked at together */
    F(check_vectors)(k, 513 * k->lanes + 1);
    F(check_peak)(k);
}

static void F(check_products)(const TABLE *k, rae_team *team)
{
    const size_t widths[F(N_WIDTHS)] = WIDTHS(k->lanes), heights[] = {0, 1, 2, 3, 4, 5, 8, 9, 15};
    const size_t sums[] = {0, 1, 3, 4, 7, 9, k->lanes, 2 * k->lanes + 1, 33}, span = 3072 / sizeof(REAL);
    for (size_t h = 0; h < sizeof heights / sizeof *heights; ++h)
        for (size_t i = 0; i < F(N_WIDTHS); i += team ? F(TEAM_WIDTHS) : 1)
            for (size_t s = 0; s < sizeof sums / sizeof *sums; ++s) {
                for (int layout = RAE_PANELS; layout <= RAE_TURNED; ++layout) /* every pair of these, by and by */
                    F(check_product)(k, team, (rae_layout)layout, heights[h], widths[i], sums[s],
                                     (int)(h + i + s + (size_t)layout) % 4);
                F(check_outer)(k, team, heights[h], widths[i], sums[s], (int)(h + i + s) % 2);
            }
    for (size_t sum = span - 1; sum <= span + 1; ++sum)
        for (size_t m = 1; m <= 9; m += 4)
            F(check_product)(k, team, RAE_TURNED, m, 5, sum, (int)(sum % 4));
    /* Large enough to be copied piece by piece, with pieces that are left over both ways. */
    F(check_outer)(k, team, 131, 2 * k->lanes + 1, 786432 / sizeof(REAL) / 131, 1);
    F(check_outer)(k, team, 3, 6 * k->lanes + 1, 786432 / sizeof(REAL) / (6 * k->lanes), 0);
}

static void F(check_steps)(const TABLE *k, rae_team *team)
{
    const size_t widths[F(N_WIDTHS)] = WIDTHS(k->lanes);
    const size_t active[][F(STEPS)] = {{1, 1, 1, 1}, {9, 9, 9, 9}, {5, 3, 1, 1}, {2, 1, 0, 0}};
    for (size_t i = 0; i < F(N_WIDTHS); i += team ? F(TEAM_WIDTHS) : 1)
        for (size_t a = 0; a < sizeof active / sizeof *active; ++a)
            for (int layout = RAE_PANELS; layout <= RAE_TURNED; ++layout)
                for (int with = 0; with < 8; ++with) {
                    const size_t last = active[a][F(STEPS) - 1];
                    F(check_forward)(k, team, (rae_layout)layout, widths[i], active[a], with & 1, with & 2, with & 4);
                    F(check_backward)(k, team, (rae_layout)layout, widths[i], active[a], with % 3 ? last : 0, with);
                }
}

static void F(check)(const TABLE *k, size_t members)
{
    rae_team *team = rae_team_start(members);
    EXPECT(rae_team_members(team) == members);
    if (!team)
        F(check_alone)(k);
    F(check_products)(k, team);
    F(check_steps)(k, team);
    rae_team_end(team);
}
