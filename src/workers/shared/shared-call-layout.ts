/**
 * The shared memory of one call. Through it the main thread ("main") and the call's media worker exchange audio and
 * whatever changes with every frame, without messages. Everything else goes through the call's MessagePort.
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
 * have a cache line of their own: a line that both sides write moves between the cores with every frame, which cost
 * more than the copies. The memory outlives a worker: a call that changes its worker keeps it, with all speech not yet
 * played.
 */
export const Word = {
  // --- main's line ---
  inHead: 0,
  inSkip: 1,
  outTail: 2,
  /**
   * Count of the speech samples that the times describe. Main writes it after the times. While main sends, `outTail` is
   * ahead of it: a reader that used `outTail` could take the times of one sentence for those of the next.
   */
  dated: 3,
  /** Not 0: the call must end, whatever state its session is in (`HANGUP_*`). */
  hangup: 4,
  /** Packets that did not fit. */
  inDropped: 5,
  /** Count of the samples that were sent with nothing but the waiting sound. Main writes it after its time. */
  waitingSent: 6,

  // --- the worker's line ---
  inTail: 16,
  outHead: 17,
  outSkip: 18,
  /** Count of the sample at the first place of the outbound ring. Written while that ring is empty. */
  outBase: 19,

  // --- the worker's second line: words that main reads at every tick and that seldom change ---
  /** Counts the flushes of the carrier's buffer. */
  clears: 32,
  /** 1 while a barge-in that is not committed yet pauses the agent. */
  paused: 33,
  /** 1 while the worker has, or expects, more samples of the item that plays now. */
  more: 34,
  /** 1 while the caller waits, and hears the waiting sound where there is no speech, and softly where there is. */
  waiting: 36,
  /** Thread of the worker that has the call, 0 for none. Main clears it before it gives the call to another worker. */
  worker: 35,
} as const

export const Time = {
  /** When everything sent so far will have been played. */
  playoutEndMs: 0,
  /** When the last speech sample was given to the socket. */
  lastSentAtMs: 1,
  /**
   * When sample 0 would have been played if all speech had been one run with the one that plays now. So it stays the
   * same for a whole run, whenever it is read.
   */
  sampleZeroMs: 2,
  /** When the first sample that `waitingSent` counts would have been played if all had been one run with the one that plays now. */
  waitingZeroMs: 3,
} as const

/** Values of the `hangup` word. */
export const HANGUP_NONE = 0
export const HANGUP_NOW = 1

export const TIMES_OFFSET = 192
export const RINGS_OFFSET = 256
/** Bytes before the rings; zero in the memory of a new call. */
export const SHARED_CALL_HEAD_BYTES = RINGS_OFFSET

/** Holds a frame of the largest size and a burst; memory pages that were never touched cost nothing. */
export const INBOUND_RING_BYTES = 256 * 1024
/** Speech that continues to play when a worker dies: 2 s at 16 kHz, 4 s at 8 kHz. */
export const OUTBOUND_RING_SAMPLES = 32 * 1024
/** Samples of the outbound ring that stay readable after main has taken them: enough for one tick and a long delay. */
export const RECALLED_SAMPLES = 4096

/** Samples of the waiting sound that stay readable after they were sent: half a second at 16 kHz. A power of two. */
export const WAITING_SENT_SAMPLES = 8192

export const WAITING_SENT_OFFSET = RINGS_OFFSET + INBOUND_RING_BYTES + OUTBOUND_RING_SAMPLES * 2

/** Bytes of one call's shared memory. */
export const SHARED_CALL_BYTES = WAITING_SENT_OFFSET + WAITING_SENT_SAMPLES * 2

/** The words alone, without views of the rings. */
export function wordsOf(memory: SharedArrayBuffer, at: number): Int32Array {
  return new Int32Array(memory, at, TIMES_OFFSET / Int32Array.BYTES_PER_ELEMENT)
}
