import type { Backend, BackendEvent, BackendSink } from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/** Frames of the caller that a backend got: their samples and whether they had voice. */
interface Got {
  readonly pcm: Int16Array
  readonly voiced: boolean | undefined
}

/** The backends of a test's calls, the newest last. */
export const opened: PaceBackend[] = []

/** A backend that says what its test says, when it says so, whatever the caller does; `pace-vad` detects speech by itself, and its test says when. */
export function createBackend(sink: BackendSink): Backend {
  const backend = new PaceBackend(sink, 'pace', {
    serverVad: servesVad.now,
    turnEndFromMs: 200,
    turnEndToMs: 800,
    truncate: true,
  })
  opened.push(backend)
  return backend
}

/** If the next backend detects speech itself. */
export const servesVad = { now: false }

export class PaceBackend extends TestBackend {
  readonly got: Got[] = []

  override pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.got.push({ pcm: pcm.slice(), voiced })
  }

  /** A turn of words, for as long. */
  speaks(text: string, ms: number): void {
    this.say(text, ms)
  }

  reports(event: (generation: number) => BackendEvent): void {
    this.event(event(this.generation))
  }
}
