// Numbers of the echo that TypeScript and its kernel (echo-kernel/) both need. The kernel reads this file as it is: plain
// numbers only.

/** How long after it was sent our own speech may come back. */
export const ECHO_DELAY_MS_MAX = 500

/** Number of bands, of equal width by ear, from 150 to 3700 Hz: what every telephone carries. */
export const BANDS = 32
/** 32 ms at 8 kHz. */
export const WINDOW = 256

/**
 * Times are in slots of 10 ms: 2.56 s, a power of two. After a stall of 2 s its frames are still compared with what was sent
 * when they were taken.
 */
export const SLOTS = 256
/** The carrier may hold audio back, so that the echo comes before it is expected. */
export const DELAY_MIN = -4
/** `ECHO_DELAY_MS_MAX` and six slots. */
export const DELAYS = 60
/** Audio that waits on its way makes the longest delay longer. */
export const REACH_SLOTS_MAX = 30
export const DELAYS_MOVED = 90
/** Frames of the caller's side that are kept. */
export const HEARD_FRAMES = 48
/** Those of them that are compared with another delay. */
export const MOVED_FRAMES_MAX = 12
/** Lowest audible level of sent audio, in its loudest band. */
export const SENT_LOUD_DB = -55
/** Fewer bands that are heard over the line's noise say nothing. */
export const AUDIBLE_BANDS_MIN = 4

/** Samples at 8 kHz of what was sent that a search on a mixed line reads: from 250 ms after it to 560 ms before, and a frame. */
export const SEARCH_SAMPLES = 6648
/** Delays that it finds. */
export const SEARCH_PEAKS = 5

// The kernel's tables of levels and powers, in place of exponents and logarithms, which took a sixth of what the echo of a
// loudspeaker cost. Exact to 0.001 dB between the limits, far less than any level here is known.
export const DB_MIN = -160
export const DB_MAX = 80
export const STEPS_PER_DB = 8
/** The softer of two powers that are further apart adds less than 0.001 dB. */
export const APART_DB_MAX = 40
