import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { rmsOf } from '../../src/carrier/line.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import type { OwnExchange } from './own-exchange.js'
import type { SipCall, SipPhone } from './sip-phone.js'
import { until } from './until.js'

const VOICED_RMS = 300

/** Calls a number and waits until the agent has spoken. @param headers  headers of the INVITE */
export async function talking(phone: SipPhone, number = '100', headers: readonly string[] = []): Promise<SipCall> {
  const call = await phone.call(number, headers)
  await until(() => call.answeredMs !== null || call.ended !== null, 20_000, 'an answered call')
  await until(() => voicedMs(call).length > 10, 20_000, 'the greeting')
  return call
}

/** Waits until a phone has rung `count` times. @returns the last call */
export async function rungAt(phone: SipPhone, count = 1, limitMs = 30_000): Promise<SipCall> {
  await until(() => phone.rang.length >= count, limitMs, 'a phone that rings')
  return phone.rang[count - 1] as SipCall
}

/** Tone at 8 kHz, the rate of phones. */
export function tone(hz: number, seconds: number): Int16Array {
  return Int16Array.from({ length: seconds * 8000 }, (_, i) => 8000 * Math.sin((2 * Math.PI * hz * i) / 8000))
}

/** Asserts that sound is transmitted in both directions between two phones. */
export async function hearEachOther(t: Test, caller: SipCall, human: SipCall): Promise<void> {
  const fromMs = performance.now()
  caller.say(tone(500, 1))
  human.say(tone(700, 1))
  await sleep(1500)
  t.ok(toneFrames(500, human, fromMs) > 15, 'the human hears the caller')
  t.ok(toneFrames(700, caller, fromMs) > 15, 'the caller hears the human')
  t.equal(toneFrames(500, caller, fromMs), 0, 'and not themselves')
}

/** Arrival times in ms of packets with a voice. */
export function voicedMs(call: SipCall): number[] {
  return call
    .heard()
    .filter(({ pcm }) => rmsOf(pcm) > VOICED_RMS)
    .map(({ atMs }) => atMs)
}

/** Waits until the agent has been silent for a second. */
export async function silence(call: SipCall): Promise<void> {
  await until(() => performance.now() - (voicedMs(call).at(-1) ?? 0) > 1000, 30_000, 'a silent agent')
}

/** Packets with this tone since `fromMs`. Each is examined separately: on a busy machine some come late. */
export function toneFrames(hz: number, call: SipCall, fromMs: number): number {
  const isTone = (pcm: Int16Array): boolean => {
    let [re, im, all] = [0, 0, 0]
    for (const [i, sample] of pcm.entries()) {
      re += sample * Math.cos((2 * Math.PI * hz * i) / 8000)
      im += sample * Math.sin((2 * Math.PI * hz * i) / 8000)
      all += sample * sample
    }
    return rmsOf(pcm) > VOICED_RMS && (2 * (re * re + im * im)) / (pcm.length * all) > 0.8
  }
  return call.packets.filter(({ atMs, pcm }) => atMs >= fromMs && isTone(pcm)).length
}

/** Records of ended calls, the newest first. */
export async function records({ opsUrl }: OwnExchange): Promise<CallRecord[]> {
  const { ended } = (await (await fetch(`${opsUrl}/api/calls`)).json()) as { ended: { callSid: string }[] }
  const all = ended.map(
    async ({ callSid }) => (await (await fetch(`${opsUrl}/api/calls/${callSid}`)).json()) as CallRecord,
  )
  return (await Promise.all(all)).sort((a, b) => b.startedAt.localeCompare(a.startedAt))
}

/** Waits until a call has ended completely, and returns its record. */
export async function over(own: OwnExchange, before: number): Promise<CallRecord> {
  await until(async () => (await own.status())['liveCalls'] === 0, 20_000, 'an exchange without a call')
  await until(async () => (await records(own)).length > before, 20_000, 'a record')
  const isIdle = async (): Promise<boolean> =>
    (await own.asterisk.console('core show channels count')).includes('0 active channels')
  await until(isIdle, 10_000, 'an Asterisk without a channel')
  return (await records(own))[0] as CallRecord
}
