/* The solvers, one function each; included by kernels_body.h. Formulas: rae_fast/solvers.py, NumPy twins:
 * rae_fast/reference.py.
 *
 * A solver is a row of the list at the end, by its name there. It gets the rate and the number of the update, its
 * own numbers in the order in which solvers.py names them, the gradient, up to two state arrays (NULL
 * where it keeps fewer) and theta; none of these overlap. The loops are plain: the compiler vectorises them, square
 * roots included. */

static void K(sgd)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict first,
                   REAL *restrict second, REAL *restrict theta)
{
    (void)first, (void)second;
    K(axpy)(n, (REAL)-step->rate, grad, theta);
}

/* numbers: momentum, whether it rises as min(1 - 3 / (t + 4), momentum) */
static REAL K(momentum_at)(const rae_step *step)
{
    const double most = step->numbers[0], rising = 1 - 3.0 / ((double)step->t + 4);
    return (REAL)(step->numbers[1] != 0 && rising < most ? rising : most);
}

static void K(momentum)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict velocity,
                        REAL *restrict second, REAL *restrict theta)
{
    const REAL rate = (REAL)step->rate, mu = K(momentum_at)(step);
    (void)second;
    for (size_t i = 0; i < n; ++i) {
        velocity[i] = mu * velocity[i] - rate * grad[i];
        theta[i] += velocity[i];
    }
}

static void K(nesterov)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict velocity,
                        REAL *restrict second, REAL *restrict theta)
{
    const REAL rate = (REAL)step->rate, mu = K(momentum_at)(step);
    (void)second;
    for (size_t i = 0; i < n; ++i) {
        velocity[i] = mu * velocity[i] - rate * grad[i];
        theta[i] += mu * velocity[i] - rate * grad[i];
    }
}

/* numbers: epsilon */
static void K(adagrad)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict square,
                       REAL *restrict second, REAL *restrict theta)
{
    const REAL rate = (REAL)step->rate, epsilon = (REAL)step->numbers[0];
    (void)second;
    for (size_t i = 0; i < n; ++i) {
        square[i] += grad[i] * grad[i];
        theta[i] -= rate * grad[i] / (SQRT(square[i]) + epsilon);
    }
}

/* numbers: rho, epsilon */
static void K(rmsprop)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict square,
                       REAL *restrict second, REAL *restrict theta)
{
    const REAL rate = (REAL)step->rate, rho = (REAL)step->numbers[0], epsilon = (REAL)step->numbers[1];
    (void)second;
    for (size_t i = 0; i < n; ++i) {
        square[i] = rho * square[i] + (1 - rho) * (grad[i] * grad[i]);
        theta[i] -= rate * grad[i] / (SQRT(square[i]) + epsilon);
    }
}

/* numbers: rho, epsilon */
static void K(adadelta)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict square,
                        REAL *restrict moved, REAL *restrict theta)
{
    const REAL rate = (REAL)step->rate, rho = (REAL)step->numbers[0], epsilon = (REAL)step->numbers[1];
    for (size_t i = 0; i < n; ++i) {
        square[i] = rho * square[i] + (1 - rho) * (grad[i] * grad[i]);
        const REAL move = SQRT((moved[i] + epsilon) / (square[i] + epsilon)) * grad[i];
        moved[i] = rho * moved[i] + (1 - rho) * (move * move);
        theta[i] -= rate * move;
    }
}

/* numbers: beta_1, beta_2, epsilon */
static void K(adam)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict mean,
                    REAL *restrict square, REAL *restrict theta)
{
    const REAL beta_1 = (REAL)step->numbers[0], beta_2 = (REAL)step->numbers[1];
    const REAL epsilon = (REAL)step->numbers[2];
    const REAL rate = (REAL)(step->rate / (1 - pow(step->numbers[0], (double)step->t)));
    const REAL root_bias = (REAL)sqrt(1 - pow(step->numbers[1], (double)step->t));
    for (size_t i = 0; i < n; ++i) {
        mean[i] = beta_1 * mean[i] + (1 - beta_1) * grad[i];
        square[i] = beta_2 * square[i] + (1 - beta_2) * (grad[i] * grad[i]);
        theta[i] -= rate * mean[i] / (SQRT(square[i]) / root_bias + epsilon);
    }
}

static void K(rprop)(const rae_step *step, size_t n, const REAL *restrict grad, REAL *restrict previous,
                     REAL *restrict sizes, REAL *restrict theta)
{
    (void)step;
    for (size_t i = 0; i < n; ++i) {
        const REAL turn = grad[i] * previous[i];
        REAL g = grad[i], size = sizes[i];
        size *= turn > 0 ? (REAL)1.2 : turn < 0 ? (REAL)0.5 : 1;
        size = size > 50 ? 50 : size < (REAL)1e-6 ? (REAL)1e-6 : size;
        g = turn < 0 ? 0 : g;
        sizes[i] = size;
        previous[i] = g;
        theta[i] -= g > 0 ? size : g < 0 ? -size : 0;
    }
}

static const SOLVER K(solvers)[] = {
    {"sgd", K(sgd)},
    {"momentum", K(momentum)},
    {"nesterov", K(nesterov)},
    {"adagrad", K(adagrad)},
    {"rmsprop", K(rmsprop)},
    {"adadelta", K(adadelta)},
    {"adam", K(adam)},
    {"rprop", K(rprop)},
    {NULL, NULL},
};
