/** The audio stream of the call, on the clock of the inputs. */
export class Stream {
  #openedAtMs: number | null = null
  #closedAtMs: number | null = null
  #gapMs: number

  constructor(gapMs: number) {
    this.#gapMs = gapMs
  }

  /** Time zero of the call's stream, which may have been opened at an earlier worker; null before it is open here. */
  get openedAtMs(): number | null {
    return this.#openedAtMs
  }

  /** Null until the stream is closed. */
  get closedAtMs(): number | null {
    return this.#closedAtMs
  }

  /** Time since `openedAtMs` in which the call had no stream. */
  get gapMs(): number {
    return this.#gapMs
  }

  /** @param gapMs  null: as before */
  open(atMs: number, gapMs: number | null): void {
    this.#openedAtMs = atMs
    this.#gapMs = gapMs ?? this.#gapMs
  }

  /** The first close counts. */
  close(atMs: number): void {
    this.#closedAtMs ??= atMs
  }
}
