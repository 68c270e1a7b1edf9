/** The request of `/speech`. The answer is a WAV file. */
export interface ToySpeechRequest {
  readonly model: string
  readonly voice: string
  readonly text: string
  /** Factor of the voice's normal speed, 0.5 to 2. Default: 1. */
  readonly speed?: number
}
