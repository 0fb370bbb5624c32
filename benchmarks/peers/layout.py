"""How the contestants exchange parameters: a flat vector, whatever order rae_fast stores its own in.

    theta = [ W (H+I, H) | b_h (H) | h0 (H) | V (H, H+I) | c_h (H) | c_x (I) ]
    W = [W_hh; W_xh]      V = [V_hh, V_hx]
"""

import numpy as np


def stacked(theta, I, H):
    """Views W (H+I, H), b_h (H,), h0 (H,), V (H, H+I), c (H+I,) of such a vector."""
    K = H + I
    end = K * H
    return (theta[:end].reshape(K, H), theta[end:end + H], theta[end + H:end + 2 * H],
            theta[end + 2 * H:2 * end + 2 * H].reshape(H, K), theta[-K:])


def named(theta, I, H):
    """The eight parameters by name, as views."""
    W, b_h, h0, V, c = stacked(theta, I, H)
    return {"W_xh": W[H:], "W_hh": W[:H], "b_h": b_h, "h0": h0, "V_hh": V[:, :H], "V_hx": V[:, H:], "c_h": c[:H],
            "c_x": c[H:]}


def from_names(parameters):
    """The vector of parameters by name."""
    H, I = parameters["V_hx"].shape
    theta = np.empty(2 * (H + I) * H + 3 * H + I, parameters["V_hx"].dtype)
    for name, view in named(theta, I, H).items():
        view[...] = parameters[name]
    return theta
