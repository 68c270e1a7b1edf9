import type { Test } from 'tap'
import { Recorder, conformanceSession } from '../../../src/backends/conformance.js'
import type { BackendSession } from '../../../src/backends/backend.js'
import { Circuits } from '../../../src/backends/failover/circuit-breaker.js'
import { CallBackend } from '../../../src/backends/call-backend.js'
import type { CallBackendOptions } from '../../../src/backends/call-backend.js'
import { lineSample } from '../../../bench/kit/line-samples.js'
import { FakeTimers, settled } from './scripted.js'
import type { ScriptedService } from './scripted.js'

export const FRAME = 320

/** A call on a list of scripted services. The caller's samples are those of `lineSample`. */
export class Line {
  readonly timers = new FakeTimers()
  readonly recorder = new Recorder()
  readonly backend: CallBackend
  readonly said: number[] = []
  readonly hangup = new AbortController()

  /** A call that `by` has greeted. */
  static async greeted(
    t: Test,
    by: ScriptedService,
    services: readonly ScriptedService[],
    options?: Partial<CallBackendOptions>,
  ): Promise<Line> {
    const line = new Line(t, services, options)
    await line.connect()
    await line.greeted(by)
    return line
  }

  constructor(t: Test, services: readonly ScriptedService[], options: Partial<CallBackendOptions> = {}) {
    this.backend = new CallBackend(this.recorder, {
      candidates: services.map(({ create }) => ({ create })),
      timers: this.timers,
      circuits: new Circuits({ random: () => 0.5 }),
      ...options,
    })
    t.teardown(() => this.backend.close('the test is over'))
  }

  async connect(session: Partial<BackendSession> = {}): Promise<void> {
    await this.backend.connect(conformanceSession(session), this.hangup.signal)
  }

  /** `ms` of caller audio in real time. */
  async frames(ms: number, voiced = true): Promise<void> {
    for (let done = 0; done < ms; done += 20) {
      const frame = new Int16Array(FRAME)
      for (let i = 0; i < FRAME; i++) {
        frame[i] = lineSample(this.said.length)
        this.said.push(frame[i] as number)
      }
      await this.timers.pass(20)
      this.backend.pushAudio(frame, voiced)
    }
  }

  /** The caller speaks for `ms`. As in a call, the onset is reported 40 ms late and the end 600 ms late. */
  async speech(ms: number): Promise<void> {
    await this.frames(40)
    this.backend.speechStart(this.timers.now - 40)
    await this.frames(ms - 40 + 600)
    this.backend.speechEnd(this.timers.now - 600)
  }

  /** The call asks to begin, and `service` greets. */
  async greeted(service: ScriptedService): Promise<void> {
    this.backend.sendText('', { role: 'system', respond: true })
    service.now.answer(1, 'Welcome to the shop.', 1200)
    await this.timers.pass(2000)
  }

  get failovers() {
    return this.recorder.all('failover')
  }
}

export { settled }
