// Limits of the detections in a frame, for TypeScript and the kernel (caller-kernel/). The kernel includes this file,
// so it may contain only plain numbers.

// --- DTMF digits (dtmf.ts). Times are in blocks of 10 ms; a window is two blocks.

/**
 * Minimum level in dBFS at which digits are searched for; the limit saves work in silence. Q.24 requires digits down to
 * about -29 dBm0.
 */
export const DTMF_DBFS_MIN = -42
/** `DTMF_DBFS_MIN` as a mean square of samples. */
export const DTMF_POWER_MIN = 67748.52899283587
/**
 * Minimum share of the two tones in the window's power. The filters' loss beside their frequency is corrected first.
 * With 15 dB of noise, the share of a digit is 0.97.
 */
export const PURITY_MIN = 0.9
/**
 * Maximum frequency error. Q.24 requires that errors up to 1.5 % are accepted and errors from 3.5 % are refused. The
 * frequency is known from the change of the phase from block to block. The second tone and noise make this value less
 * exact.
 */
export const OFF_FREQUENCY_MAX = 0.018
export const PHASE_BLUR_RAD = 0.35
/**
 * Maximum ratio of the column's power to the row's power. `REVERSE_TWIST_MAX`: maximum ratio of the row's power to the
 * column's power. Q.24 allows 8 and 4 dB; the losses of lines make these 8.5 and 6.5 dB.
 */
export const TWIST_MAX = 7.079457843841379
export const REVERSE_TWIST_MAX = 4.466835921509632
/**
 * Minimum ratio of the strongest row's (or column's) power to the power of each other row (or column): 6 dB. A true
 * tone leaks at most -10 dB into its neighbours in this window.
 */
export const DOMINANCE_MIN = 3.9810717055349722
/**
 * Maximum share of the tones' octaves in the power. If a voice contains both frequencies, it contains their octaves
 * too; a key does not.
 */
export const OCTAVE_MAX = 0.05
/** Share of a row's octave that leaks into a column, which is 58 to 71 Hz away. */
export const OCTAVE_LEAK = 0.08
/**
 * Minimum ratio of the power in the two blocks of a window, because a digit sounds equally in both blocks. So a sound
 * of less than 30 ms is never found in two windows.
 */
export const EVENNESS_MIN = 0.65
export const HITS_TO_REPORT = 2
export const MISSES_TO_RELEASE = 5

// --- Tones (pure-tone.ts).

/**
 * Maximum impurity of a tone. Telephone tones are purer, even through mu-law or with 30 dB of noise. Of 165 s of voiced
 * synthetic speech, 1.2 % is purer too.
 */
export const IMPURITY_MAX = 0.003
/**
 * Minimum share of a tone's power that must remain after the line's filter: -6 dB. If less remains, the tone is mains
 * hum.
 */
export const TONE_LEFT_MIN = 0.25

// --- The line's filter (line-filter.ts): two sections at 2 kHz, each
// z^-2 + ZERO z^-1 + 1 over POLE_2 z^-2 + POLE_1 z^-1 + 1.

/**
 * A Butterworth high-pass of four poles at 150 Hz, with two of its zeros at 55 Hz. It removes a constant. Attenuation
 * in dB: 52 at 50 Hz, 48 at 60 Hz, 18 at 100 Hz, 4 at 150 Hz, 1 at 200 Hz, 0 at the highest frequency. A telephone's
 * band begins at 300 Hz.
 */
export const LINE_GAIN = 0.5406135813719535
export const LINE_ZERO_A = -2
export const LINE_POLE_A1 = -1.2554404734849929
export const LINE_POLE_A2 = 0.4090137831803125
export const LINE_ZERO_B = -1.9702186523095477
export const LINE_POLE_B1 = -1.5182418440638743
export const LINE_POLE_B2 = 0.7039626566672619
/**
 * Minimum power (mean square: -45 dBFS) that the filter removes from every frame of a second on a faulty line. In
 * addition, in one frame of this second the removed power must be six times the remaining power. In the first second
 * only the first frame decides.
 *
 * The line stays faulty until the filter removes less than half of this power from a frame.
 */
export const FAULTY_POWER_MIN = 33954.96
export const FAULTY_SHARE_MIN = 6
export const FAULTY_FRAMES = 50
/** Offset added to each sample, because silence would lead to denormal numbers, which are slow. */
export const LINE_LEAST = 1e-15

// --- Voice (voice-detector.ts).

/**
 * Minimum log odds that begin a voice: 0.7 / 0.3. `ODDS_ON`: log odds below which a voice ends: 0.6 / 0.4
 * (bench/vad/README.md).
 */
export const ODDS_BEGIN = 0.8472978603872037
export const ODDS_ON = 0.4054651081081644
/** Limit of the first stage's log odds if they are an input of the second stage. Odds of e^6 count as certain. */
export const ODDS_LIMIT = 6
/**
 * Number of groups of units in the second stage. The groups were fitted separately; their mean has a smaller error than
 * either group.
 */
export const GROUPS = 2
/**
 * Input beyond which the output of a unit of the second stage no longer changes (`squashed` in
 * bench/vad/voice-features.ts).
 */
export const SQUASH_LIMIT = 3
/**
 * Minimum log odds of the second stage, which considers the whole stream so far. A frame below this limit is not voice,
 * even if the first stage accepts it.
 */
export const SECOND_ODDS_MIN = -0.8
/** Log odds below which a voice is doubtful. */
export const SECOND_ODDS_DOUBTFUL = 2
/** Level in dBFS below which a frame is never voice, because no line with a person on it is this quiet. */
export const VOICE_DBFS_MIN = -60
