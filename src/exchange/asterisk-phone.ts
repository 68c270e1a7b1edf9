import type { CallerEnd, CallerEvents, CallingPerson } from '../carrier/caller-end.js'
import { type CallClock, CallerLeg } from '../carrier/caller-leg.js'
import type { CallerVoices } from '../carrier/caller-voices.js'
import type { RungOutcome } from '../carrier/choices.js'
import { Microphone } from '../carrier/microphone.js'
import { samplesToMs } from '../core/units.js'
import type { RungPhone } from './asterisk.js'
import { CAUSE, LEG_RATE_HZ, type MediaLeg } from './media-leg.js'

/**
 * Lead of a phone's sound in ms. Asterisk has no jitter buffer: it forwards each packet on arrival. The lead absorbs
 * clock drift and grows with the jitter of the phone's network.
 */
const LEAD = { leadMs: 20, leadMsMax: 200 } as const

/**
 * Maximum duration in ms of the sound before a placed call's first media socket. The socket gets this sound when it
 * opens. The maximum equals the size of the fork's buffer.
 */
const KEPT_MS_MAX = 2000

/** A person at an Asterisk telephone: a caller, or a called person. */
export class AsteriskPhone implements CallingPerson {
  readonly speech: Pick<CallerVoices, 'speak'>
  ring?: NonNullable<CallingPerson['ring']>
  #leg: MediaLeg | null
  #end: CallerEnd | null = null

  /** @param phone  the leg of a phone that is connected, or a phone that is rung when the call begins */
  constructor(speech: Pick<CallerVoices, 'speak'>, phone: MediaLeg | (() => RungPhone)) {
    this.speech = speech
    this.#leg = typeof phone === 'function' ? null : phone
    if (typeof phone === 'function') this.ring = (ended) => this.#rung(phone(), ended)
  }

  async #rung(phone: RungPhone, ended: Promise<void>): Promise<RungOutcome> {
    void ended.then(() => phone.cancel())
    const { outcome, leg } = await phone.answered
    this.#leg = leg
    return outcome
  }

  /** Starts the phone's end of the call. Called once. */
  open(clock: CallClock, events: CallerEvents): CallerEnd {
    const media = this.#leg
    const microphone = new Microphone(LEG_RATE_HZ, LEAD)
    const line = {
      sampleRateHz: LEG_RATE_HZ,
      openingMs: 0,
      record: false,
      player: microphone,
      keptMs: this.ring === undefined ? 0 : KEPT_MS_MAX,
    } as const
    const leg = new CallerLeg(line, clock, {
      onHeard: (frame) => media?.play(frame),
      onKilled: () => media?.flush(),
    })
    media?.listen({
      audio: (bytes) => microphone.write(bytes),
      digit: (digit) => {
        events.onDigits?.(digit)
        leg.sendDigit(digit)
      },
      closed: (why) => events.onHungUp(why),
    })
    const end: CallerEnd = {
      leg,
      heard: [],
      facts: () => ({ order: null, status: null, eta: null }),
      answered: () => media?.answer(),
      rejected: (reason) => {
        if (media !== null) media.after = `hangup ${reason === 'busy' ? CAUSE.busy : CAUSE.rejected}`
      },
      end: (nowMs) => {
        leg.close(nowMs)
        media?.skipped(samplesToMs(microphone.samplesDropped, LEG_RATE_HZ))
        microphone.samplesDropped = 0
        media?.close()
        return Promise.resolve()
      },
    }
    this.#end = end
    return end
  }

  /** Ends the phone's call by force, even if the call is not open yet. */
  close(nowMs: number): void {
    void this.#end?.end(nowMs)
    this.#leg?.close()
  }
}
