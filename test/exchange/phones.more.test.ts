import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { CallerVoices } from '../../src/carrier/caller-voices.js'
import { type OwnExchange, ownExchange, testAsterisk } from '../support/own-exchange.js'
import { hearEachOther, over, records, rungAt, silence, talking, toneFrames, voicedMs } from '../support/phone-calls.js'
import { until } from '../support/until.js'

const found = await testAsterisk()
const skip = found === null ? 'there is no Asterisk of 22.8 or later here' : false
const voices = found === null ? null : await CallerVoices.load()
t.teardown(() => voices?.close())

const words = (text: string): Promise<Int16Array> => (voices as CallerVoices).speak(text, 'rms', 8000)

async function line(t: Parameters<typeof ownExchange>[0]): Promise<OwnExchange> {
  return ownExchange(t, found as NonNullable<typeof found>)
}

/** Asks the REST API to ring +254720000020. @returns the call's SID */
async function place({ key, restUrl }: OwnExchange): Promise<string> {
  const body = JSON.stringify({ from: '+254700000000', to: ['+254720000020'] })
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const answer = await fetch(`${restUrl}/v1/calls`, { method: 'POST', headers, body })
  return ((await answer.json()) as { session_id: string }).session_id
}

t.test('real telephones work through a real Asterisk', { skip }, async (t) => {
  const own = await line(t)
  const phone = await own.phone('200')
  const human = await own.phone('201')
  const callee = await own.phone('202')

  await t.test('a telephone has a conversation with an interruption', async (t) => {
    const call = await talking(phone)
    t.ok(call.progress.includes(180), 'it rang before the answer')
    const greetedMs = (voicedMs(call)[0] ?? Infinity) - (call.answeredMs ?? 0)
    // The first call loads the voice.
    t.ok(greetedMs < 5000, `the greeting came ${Math.round(greetedMs)} ms after the answer`)
    // Over the greeting.
    call.say(await words('Where is my order?'))
    const spokeMs = performance.now()
    await until(() => !call.isSpeaking, 5000, 'the end of the question')
    const saidMs = performance.now()
    await until(() => voicedMs(call).some((atMs) => atMs > saidMs + 300), 10_000, 'an answer')
    const before = voicedMs(call).filter((atMs) => atMs > spokeMs && atMs < saidMs)
    t.ok((before.at(-1) ?? 0) - spokeMs < 1500, 'the agent fell silent while the caller spoke')
    await silence(call)
    // Once more, in silence: on a busy machine words over the greeting may get lost.
    call.say(await words('Where is my order?'))
    await until(() => !call.isSpeaking, 5000, 'the end of the second question')
    await sleep(1500)
    await silence(call)
    const idleFrom = call.packets.length
    await sleep(1000)
    const idle = call.packets.length - idleFrom
    // Without silence from us, Asterisk sends none. On a busy machine some are skipped to catch up.
    t.ok(idle > 10 && idle < 60, `silence is sent too: ${idle} packets in a second without speech`)
    call.hangUp()
    const record = await over(own, 0)
    const heard = record.transcript.filter(({ role }) => role === 'caller').map(({ text }) => text)
    t.ok(
      heard.some((text) => /order/i.test(text)),
      `the question was understood: ${JSON.stringify(heard)}`,
    )
    t.match(await own.status(), { framesDropped: 0, legsLost: 0, legsRefused: 0 })
  })

  await t.test('fast key presses are counted one by one', async (t) => {
    const call = await talking(phone)
    await silence(call)
    call.press('441277', 60, 40)
    await sleep(2500)
    call.hangUp()
    t.equal((await over(own, 1)).audio.dtmf, 6, 'also one that is pressed twice')
  })

  await t.test('a caller reaches a human and is heard', async (t) => {
    const call = await talking(phone)
    await silence(call)
    call.press('00', 60, 40)
    const rang = await rungAt(human)
    t.match(rang.header('from'), /<sip:200@/, 'the human sees who calls')
    await until(async () => (await own.status())['legs'] === 2, 10_000, 'a human on the line')
    await silence(call)
    await hearEachOther(t, call, rang)
    rang.hangUp()
    await until(() => call.ended !== null, 10_000, 'the end of the call')
    t.equal(call.ended, 'the other side hung up', 'nobody is left alone on the line')
    const record = await over(own, 2)
    t.equal(record.outcome, 'escalated')
    t.equal(rang.header('x-mkondo-call'), record.callSid, 'and which call it is')
    t.match(rang.header('x-mkondo-note'), /\w+ \w+/, 'and what it is about')
    t.equal(human.rang.length, 1, 'a key that was pressed twice rings once')
  })

  await t.test('a busy human is reported to the caller [2]', async (t) => {
    human.onRing = 'busy'
    const before = human.rang.length
    const call = await talking(phone)
    await silence(call)
    call.press('0')
    await rungAt(human, before + 1)
    const busyMs = performance.now()
    // The shipped agent tries every way that it has, offers a call back, and ends the call.
    await until(() => call.ended !== null, 60_000, 'the end of the call')
    t.equal(call.ended, 'the other side hung up')
    t.ok(voicedMs(call).filter((atMs) => atMs > busyMs + 200).length > 50, 'the caller heard words')
    const record = await over(own, 3)
    t.match(record, { outcome: 'failed', escalation: { outcome: 'busy' } })
    human.onRing = 'answer'
  })

  await t.test("a caller who hangs up ends the human's ringing [1]", async (t) => {
    human.onRing = 'ring'
    const before = human.rang.length
    const call = await talking(phone)
    await silence(call)
    call.press('0')
    const rang = await rungAt(human, before + 1)
    call.hangUp()
    await until(() => rang.ended !== null, 10_000, 'the end of the ringing')
    t.equal(rang.ended, 'cancelled')
    await over(own, 4)
    human.onRing = 'answer'
  })

  await t.test('a call continues after hold', async (t) => {
    const call = await talking(phone)
    await silence(call)
    await call.hold(true)
    await sleep(3000)
    t.equal(call.ended, null, 'the agent waits')
    await call.hold(false)
    const backMs = performance.now()
    call.say(await words('Where is my order?'))
    await until(() => !call.isSpeaking, 5000, 'the end of the question')
    await until(() => voicedMs(call).some((atMs) => atMs > backMs + 2500), 15_000, 'an answer')
    call.hangUp()
    const { transcript } = await over(own, 5)
    t.ok(
      transcript.some(({ role, text }) => role === 'caller' && /order/i.test(text)),
      'the caller was understood',
    )
  })

  await t.test('an unknown number is refused [6]', async (t) => {
    const call = await phone.call('999')
    await until(() => call.ended !== null, 10_000, 'a refusal')
    t.equal(call.ended, 'refused with 404')
  })

  await t.test('a number with a plus reaches its agent', async (t) => {
    const call = await phone.call('+254700000000')
    await until(() => call.answeredMs !== null || call.ended !== null, 20_000, 'an answered call')
    t.equal(call.ended, null)
    call.hangUp()
    await over(own, 6)
  })

  await t.test('a placed call rings a phone and talks to it', async (t) => {
    const statusOf = async (sid: string): Promise<string> => {
      const answer = await fetch(`${own.restUrl}/v1/calls/${sid}`, { headers: { authorization: `Bearer ${own.key}` } })
      return ((await answer.json()) as { call: { status: string } }).call.status
    }
    callee.onRing = 'busy'
    const busy = await place(own)
    await until(async () => (await statusOf(busy)) === 'busy', 10_000, 'a busy phone')
    callee.onRing = 'answer'
    const answered = await place(own)
    const rang = await rungAt(callee, 2)
    await until(() => voicedMs(rang).length > 10, 20_000, 'words of the agent')
    rang.hangUp()
    await until(async () => (await statusOf(answered)) === 'completed', 10_000, 'a completed call')
    t.match(await own.status(), { liveCalls: 0, dialsRefused: 0 })
  })

  let exchange = own.exchange

  await t.test('a stopped exchange reports the end to the gateway [3]', async (t) => {
    const before = (await records(own)).length
    const call = await talking(phone)
    exchange.child.kill('SIGTERM')
    t.equal(await exchange.exit, 0)
    await until(async () => (await records(own)).length > before, 10_000, 'a record')
    await until(() => toneFrames(425, call, performance.now() - 600) > 5, 10_000, 'the tone of the fallback')
    call.hangUp()
    exchange = await own.restart()
  })

  await t.test('a dead exchange leaves its callers to the fallback [4]', async (t) => {
    const call = await talking(phone)
    callee.onRing = 'ring'
    const before = callee.rang.length
    await place(own)
    const rang = await rungAt(callee, before + 1)
    exchange.child.kill('SIGKILL')
    const diedMs = performance.now()
    await until(() => toneFrames(425, call, performance.now() - 600) > 5, 10_000, 'the tone of the fallback')
    t.ok(performance.now() - diedMs < 5000, 'the fallback came soon')
    await until(() => call.ended !== null, 20_000, 'the end of the call')
    t.equal(call.ended, 'the other side hung up')
    await until(() => rang.ended !== null, 10_000, 'the end of the ringing of a phone')
    t.equal(rang.ended, 'cancelled')
    await own.restart()
    const next = await talking(phone)
    next.hangUp()
    await until(async () => (await own.status())['liveCalls'] === 0, 10_000, 'a call that is over')
  })

  await t.test('a dead Asterisk ends its calls at the gateway [5]', async (t) => {
    await talking(phone)
    await own.asterisk.stop()
    await until(async () => (await own.status())['liveCalls'] === 0, 10_000, 'an exchange without a call')
    const live = async (): Promise<readonly unknown[]> =>
      ((await (await fetch(`${own.opsUrl}/api/calls`)).json()) as { live: unknown[] }).live
    await until(async () => (await live()).length === 0, 10_000, 'a gateway without a call')
    t.equal((await own.status())['asteriskConnected'], 0)
  })
})
