/** Frames that wait in a jitter buffer, with what came with each. Changed in place by the buffer, which is its only owner. */
export interface JitterRing {
  readonly capacity: number
  /** `capacity` frames of s16 mono, one behind the other. */
  readonly frames: Int16Array
  /** Views of each frame, made once: a copy by `set` takes a seventh of the time of a loop. */
  readonly slots: readonly Int16Array[]
  /** Of each frame `FACTS` numbers, in one array: four arrays were eight more places of the memory that a frame had to wait for. */
  readonly facts: Float64Array
}

/** Places of a frame's numbers: the arrival of its last byte, its level, the caller's tags, and 1 where nobody speaks in it. */
export const FACT_ARRIVAL_MS = 0
export const FACT_LEVEL_DBFS = 1
export const FACT_TAGS = 2
export const FACT_QUIET = 3
export const FACTS = 4

/** @param samples of a frame */
export function makeRing(capacity: number, samples: number): JitterRing {
  const frames = new Int16Array(capacity * samples)
  return {
    capacity,
    frames,
    slots: Array.from({ length: capacity }, (_, slot) => frames.subarray(slot * samples, (slot + 1) * samples)),
    facts: new Float64Array(capacity * FACTS),
  }
}

/**
 * A larger or smaller ring with the frames that wait at its beginning, and the frame that was given out last in its last slot: a
 * concealment may need it. That slot is free while one frame less than `capacity` waits.
 */
export function resizedRing(
  old: JitterRing, capacity: number, at: { readonly head: number; readonly waiting: number; readonly last: number },
): JitterRing {
  const samples = old.frames.length / old.capacity
  const ring = makeRing(capacity, samples)
  const move = (from: number, to: number): void => {
    ring.frames.set(old.frames.subarray(from * samples, (from + 1) * samples), to * samples)
    ring.facts.set(old.facts.subarray(from * FACTS, (from + 1) * FACTS), to * FACTS)
  }
  for (let i = 0; i < at.waiting; i++) move((at.head + i) % old.capacity, i)
  move(at.last, capacity - 1)
  return ring
}
