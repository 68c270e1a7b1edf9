// Constants of the echo classes and of their kernel (echo-kernel/). The kernel includes this file, so it may contain
// only plain numbers.

/** Maximum time in ms from sending the agent's speech to its return. */
export const ECHO_DELAY_MS_MAX = 500

/**
 * Number of bands. They have equal width on the mel scale, from 150 to 3700 Hz, a range that every telephone carries.
 */
export const BANDS = 32
/** Samples per window: 32 ms at 8 kHz. */
export const WINDOW = 256

/**
 * Number of slots of 10 ms: 2.56 s; a power of two. After a stall of 2 s, a late frame can still be compared with the
 * audio to which it belongs.
 */
export const SLOTS = 256
/**
 * Minimum delay in slots. It is negative, because an echo may arrive earlier than expected if the carrier does not hold
 * audio back for as long as assumed.
 */
export const DELAY_MIN = -4
/** Number of possible delays in slots: six more than `ECHO_DELAY_MS_MAX`. */
export const DELAYS = 60
/**
 * Number of slots by which delayed audio can increase the maximum delay. `DELAYS_MOVED`: number of possible delays with
 * these slots.
 */
export const REACH_SLOTS_MAX = 30
export const DELAYS_MOVED = 90
/** Number of stored frames of the caller's side. */
export const HEARD_FRAMES = 48
/** Maximum number of stored frames in a comparison with another delay. */
export const MOVED_FRAMES_MAX = 12
/** Minimum level in dBFS of audible sent audio, measured in the loudest band. */
export const SENT_LOUD_DB = -55
/** Minimum number of bands above the line's noise that a verdict needs. */
export const AUDIBLE_BANDS_MIN = 4

/**
 * Number of samples of the sent audio at 8 kHz that a search on a mixed line reads. They cover the frame, the 560 ms
 * before it, and the 250 ms after it.
 */
export const SEARCH_SAMPLES = 6648
/** Maximum number of delays that a search returns. */
export const SEARCH_PEAKS = 5

// Limits in dB of the kernel's tables of levels and powers. The tables replace exponents and logarithms, and save a
// sixth of the loudspeaker echo's CPU time. They are exact to 0.001 dB.
export const DB_MIN = -160
export const DB_MAX = 80
export const STEPS_PER_DB = 8
/** Difference in dB between two powers from which the softer power adds less than 0.001 dB to the louder power. */
export const APART_DB_MAX = 40
