// Limits of what is detected in a frame, for TypeScript and for the kernel (caller-kernel/), which reads this file as
// it is: plain numbers only.

// --- DTMF digits (dtmf.ts). Times are in blocks of 10 ms; a window is two of them.

/** Below this no digit is looked for; saves the work in silence. Q.24 asks for digits down to about -29 dBm0. */
export const DTMF_DBFS_MIN = -42
/**
 * Share of the window's power in the two tones, after what the filters lose to a tone beside their frequency was made
 * good. 15 dB of noise leave 0.97.
 */
export const PURITY_MIN = 0.9
/**
 * Q.24 wants 1.5 % taken and 3.5 % refused. The phase that a tone gains from one block to the next tells; the other
 * tone and noise blur it.
 */
export const OFF_FREQUENCY_MAX = 0.018
export const PHASE_BLUR_RAD = 0.35
/**
 * Q.24: the column may be 8 dB louder than the row, the row 4 dB louder than the column; plus what lines add: 8.5 and
 * 6.5 dB.
 */
export const TWIST_MAX = 7.079457843841379
export const REVERSE_TWIST_MAX = 4.466835921509632
/**
 * The strongest row (column) against each other one, 6 dB: neighbours of a true tone leak at most -10 dB into this
 * window.
 */
export const DOMINANCE_MIN = 3.9810717055349722
/** A voice that hits both frequencies has their octaves too. */
export const OCTAVE_MAX = 0.05
/** The octaves of rows lie 58 to 71 Hz beside columns, which leak that much into them. */
export const OCTAVE_LEAK = 0.08
/** A digit sounds through both blocks of a window alike. So a blip of less than 30 ms never makes two windows. */
export const EVENNESS_MIN = 0.65
export const HITS_TO_REPORT = 2
export const MISSES_TO_RELEASE = 5

// --- Tones (pure-tone.ts).

/**
 * Telephone tones through mu-law or with 30 dB of noise stay below this; of the voiced frames of 165 s of synthetic
 * speech in four voices 1.2 % do.
 */
export const IMPURITY_MAX = 0.003

// --- Voice (voice-detector.ts).

/** Logarithms of odds: 0.7 / 0.3 begins a voice, under 0.6 / 0.4 ends it (bench/vad/README.md). */
export const ODDS_BEGIN = 0.8472978603872037
export const ODDS_ON = 0.4054651081081644
/** Limit of these odds for the second stage: e^6 is as sure as it gets. */
export const ODDS_LIMIT = 6
/** Number of groups of units in the second stage. They were fitted apart, and their mean errs less than either. */
export const GROUPS = 2
/** Where a unit of the second stage is as sure as it gets (`squashed` in bench/vad/voice-features.ts). */
export const SQUASH_LIMIT = 3
/** The same logarithm by all that was heard: what is likely to the first stage and below this is no voice. */
export const SECOND_ODDS_MIN = -0.8
/** Below this a voice is doubtful. */
export const SECOND_ODDS_DOUBTFUL = 2
/** Softer than any line that has a person on it: such a frame is no voice, whatever is in it. */
export const VOICE_DBFS_MIN = -60
