"""Drawings of people in front of backgrounds, with the same bytes on every machine.

Integer arithmetic and IEEE basic operations decide every pixel. Positions come from `random.Random` (the Mersenne
Twister, the same on every platform), and noise from PCG64's raw stream. OpenCV's fixed-point polygon fill draws the
shapes, an integer mean scales them, and libjpeg-turbo's default DCT is exact to the bit. Sines, logarithms and SIMD
resizing are avoided: their last bit differs between machines.
"""
