"""How the contestants exchange parameters: a flat vector, whatever order rae_fast stores its own in.

    theta = [ W (H+I, H) | b_h (H) | h0 (H) | V (H, H+I) | c_h (H) | c_x (I) ]
    W = [W_hh; W_xh]      V = [V_hh, V_hx]
            [ W_hc (H, C) | b_c (C) | V_ch (C, H) | c_1 (H) ]      where a code has a size C of its own
"""

import numpy as np


def stacked(theta, I, H):
    """Views W (H+I, H), b_h (H,), h0 (H,), V (H, H+I), c (H+I,) of such a vector."""
    K = H + I
    end = K * H
    return (theta[:end].reshape(K, H), theta[end:end + H], theta[end + H:end + 2 * H],
            theta[end + 2 * H:2 * end + 2 * H].reshape(H, K), theta[2 * end + 2 * H:2 * end + 2 * H + K])


def named(theta, I, H, C=0):
    """The parameters by name, as views."""
    W, b_h, h0, V, c = stacked(theta, I, H)
    found = {"W_xh": W[H:], "W_hh": W[:H], "b_h": b_h, "h0": h0, "V_hh": V[:, :H], "V_hx": V[:, H:], "c_h": c[:H],
             "c_x": c[H:]}
    if C:
        maps = theta[size(I, H):]
        found |= {"W_hc": maps[:H * C].reshape(H, C), "b_c": maps[H * C:H * C + C],
                  "V_ch": maps[H * C + C:2 * H * C + C].reshape(C, H), "c_1": maps[2 * H * C + C:]}
    return found


def size(I, H, C=0):
    """The number of parameters."""
    return 2 * (H + I) * H + 3 * H + I + (2 * H * C + C + H if C else 0)


def from_names(parameters):
    """The vector of parameters by name."""
    H, I = parameters["V_hx"].shape
    C = len(parameters["b_c"]) if "b_c" in parameters else 0
    theta = np.empty(size(I, H, C), parameters["V_hx"].dtype)
    for name, view in named(theta, I, H, C).items():
        view[...] = parameters[name]
    return theta
