/**
 * Shared memory of one call. The main thread ("main") and the call's media worker use it to exchange audio and all
 * values that change with every frame, without messages. All other data goes through the call's MessagePort.
 *
 *     bytes      0 ..  63   words that main writes (Int32)
 *               64 .. 127   words that the worker writes with each frame
 *              128 .. 191   words that the worker writes seldom
 *              192 .. 255   times (Float64, written by main, read by the worker)
 *              256 ..       inbound packets   (main -> worker, `PacketRing`)
 *                   ..      outbound samples  (worker -> main, `SampleRing`)
 *                   ..      the waiting sound as it was sent last (main -> worker)
 *
 * Each word has one writer, which may read it without Atomics; the rings publish with Atomics. The words of each writer
 * have a cache line of their own. A line that both threads write would move between the cores with every frame. This
 * cost more time than the copies. The memory outlives a worker: a call that changes its worker keeps the memory, with
 * all speech not yet played.
 */
export const Word = {
  // --- main's line ---
  inHead: 0,
  inSkip: 1,
  outTail: 2,
  /**
   * Count of the speech samples to which the times belong. Main writes it after the times. During a tick `outTail` is
   * ahead of the times, so a reader that used `outTail` could confuse two sentences.
   */
  dated: 3,
  /** 0 while the call continues. Another value (`HANGUP_*`) ends the call, in any state of its session. */
  hangup: 4,
  /** Number of packets that were dropped because the inbound ring was full. */
  inDropped: 5,
  /**
   * Count of the samples that contained only the waiting sound. Main writes it after the time of these samples
   * (`waitingZeroMs`).
   */
  waitingSent: 6,
  /**
   * Loudest power of the packets that wait: the mean square of the 16-bit samples in one packet. The maximum Int32 if
   * unknown.
   */
  inPower: 7,

  // --- the worker's line ---
  inTail: 16,
  outHead: 17,
  outSkip: 18,
  /** Count of the sample at the first index of the outbound ring. It is written only while the ring is empty. */
  outBase: 19,

  // --- the worker's second line: words that main reads at every tick and that seldom change ---
  /** Counts the flushes of the carrier's buffer. */
  clears: 32,
  /** Order to play the agent's audio while a barge-in is undecided: `SOUND_*`. */
  sound: 33,
  /** 1 while the worker has more samples of the item that plays now, or expects them. */
  more: 34,
  /** 1 while the caller waits and the waiting sound is on. During speech the waiting sound is softer. */
  waiting: 36,
  /** Greatest delay in ms of the caller's audio that has occurred repeatedly in the recent past (`LineBursts`). */
  lineBurstMs: 37,
  /**
   * Thread id of the worker that has the call; 0 if there is no worker. Main clears it before it gives the call to
   * another worker.
   */
  worker: 35,
} as const

export const Time = {
  /** Time at which all audio sent so far will have been played. */
  playoutEndMs: 0,
  /** Time at which the last speech sample was given to the socket. */
  lastSentAtMs: 1,
  /**
   * Start of the present run of speech, as the time at which sample 0 would have been played. The calculation assumes
   * that all earlier samples belonged to this run. The time does not change during a run.
   */
  sampleZeroMs: 2,
  /**
   * Start of the present run of waiting sound, as the time at which its sample 0 would have been played. The count is
   * `waitingSent`.
   */
  waitingZeroMs: 3,
} as const

/** Values of the `sound` word: the agent's audio is sent unchanged, not at all, or 12 dB softer. */
export const SOUND_FULL = 0
export const SOUND_PAUSED = 1
export const SOUND_DUCKED = 2

/** Values of the `hangup` word. */
export const HANGUP_NONE = 0
export const HANGUP_NOW = 1

export const TIMES_OFFSET = 192
export const RINGS_OFFSET = 256
/** Number of bytes before the rings. They are zero at the start of a call. */
export const SHARED_CALL_HEAD_BYTES = RINGS_OFFSET

/**
 * Size in bytes of the inbound ring. It has space for a frame of the largest size and a burst. The unused part costs
 * nothing, because the system allocates a page when it is touched.
 */
export const INBOUND_RING_BYTES = 256 * 1024
/**
 * Size of the outbound ring in samples: 2 s at 16 kHz, 4 s at 8 kHz. If a worker dies, the speech in the ring still
 * plays.
 */
export const OUTBOUND_RING_SAMPLES = 32 * 1024
/**
 * Number of samples of the outbound ring that stay readable after main has taken them. It covers the maximum lead,
 * `FRAMES_WAIT_MS_MAX`, a tick, and a delay.
 */
export const RECALLED_SAMPLES = 7168

/**
 * Number of samples of the waiting sound that stay readable after they were sent: half a second at 16 kHz. A power of
 * two.
 */
export const WAITING_SENT_SAMPLES = 8192

export const WAITING_SENT_OFFSET = RINGS_OFFSET + INBOUND_RING_BYTES + OUTBOUND_RING_SAMPLES * 2

/** Size in bytes of one call's shared memory. */
export const SHARED_CALL_BYTES = WAITING_SENT_OFFSET + WAITING_SENT_SAMPLES * 2

/** Words of a call's memory, without views of the rings. */
export function wordsOf(memory: SharedArrayBuffer, at: number): Int32Array {
  return new Int32Array(memory, at, TIMES_OFFSET / Int32Array.BYTES_PER_ELEMENT)
}
