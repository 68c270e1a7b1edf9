import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { CallerVoices } from '../../src/carrier/caller-voices.js'
import { rmsOf } from '../../src/carrier/line.js'
import { packageRoot } from '../../src/config/package-root.js'
import { channelOf, parseWav, writeWav } from '../../src/media/wav.js'
import { callWithLinphone, missingPhones } from '../support/debian-phones.js'
import {
  CALLERS,
  CUSTOMER,
  CUSTOMER_NUMBER,
  numberOf,
  type OwnExchange,
  ownExchange,
  testAsterisk,
} from '../support/own-exchange.js'
import {
  hearEachOther,
  records as callRecords,
  rungAt,
  silence,
  talking,
  tone,
  toneFrames,
  voicedMs,
} from '../support/phone-calls.js'
import type { SipCall, SipPhone } from '../support/sip-phone.js'
import { until } from '../support/until.js'

const found = await testAsterisk()
const skip = found === null ? 'there is no Asterisk of 22.8 or later here' : false
const voices = found === null ? null : await CallerVoices.load()
t.teardown(() => voices?.close())
// Spoken before anybody rings: a voice that has to be loaded would be silence.
const words = async (text: string): Promise<Int16Array> =>
  voices === null ? new Int16Array(0) : await voices.speak(text, 'rms', 8000)
const hello = await words('Hello?')
const question = await words('Where is my order?')
const mailboxWords = await words(
  'You have reached my mailbox and I cannot take your call so please leave your message.',
)

const [BUSY, DECLINES, MAILBOX, RINGS, CALLED_BACK, UNREGISTERED] = CALLERS as [
  string,
  string,
  string,
  string,
  string,
  string,
]
const withoutLinphone =
  (await missingPhones(['linphonec'])).length === 0 ? false : 'SKIPPED, no Linphone calls: this machine lacks linphonec'
/** The greeting is over before the question. */
const QUESTION_S = 6
const LINPHONE_S = 15
const OURS = '+254700000000'
const MESSAGE = 'This is the order line. We will call you again.'
/** What is wanted in this minute is due at once: after the call that asks for it. */
const WANTED_WITHIN_MS = 30_000
/** A header of a caller's, with what a dialplan and a URL could take for something else. */
const ACCOUNT = 'gold, 4127; "a & b" (c) 100% $' + '{EXTEN}'
const ALWAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'].map((day) => `${day}: ['00:00-24:00']`).join(', ')

/** The shipped agent, as one who calls people. */
async function orderLine(): Promise<string> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  return `${yaml}
outbound:
  from: '${OURS}'
  ringTimeoutS: 5
  amd: { machineSpeechMs: 2000, message: ${MESSAGE} }
`
}

/** Calls whoever says yes, or presses 8, back at that time. */
function callsBack(atIso: string): string {
  return `
version: 1
name: back
description: Calls people back.
languages: [en]
backend: embedded
instructions: Offer a call back.
greeting: Shall we call you back?
goodbye: Goodbye.
outbound: { from: '${OURS}' }
escalation: { numbers: ['+254720000010'], strategies: [callback] }
callbacks: { hours: { timeZone: UTC, week: { ${ALWAYS} } } }
offline:
  version: 1
  intents:
    'yes': { phrases: ['yes'], keys: ['8'] }
    bye: { phrases: [goodbye] }
  on: { bye: goodbye }
  misses: 3
  missed: goodbye
  start: greet
  takeover: back
  states:
    greet:
      steps:
        - say: '{{greeting}}'
        - listen: { on: { 'yes': note } }
    note:
      steps:
        - call: { tool: request_callback, args: { note: A result., at: '${atIso}' }, failed: goodbye }
        - goto: goodbye
    back:
      steps:
        - say: You can collect it at the desk.
        - listen: { on: { 'yes': goodbye } }
    goodbye:
      steps:
        - say: Goodbye.
        - call: { tool: end_call, args: { reason: The caller needs nothing else. }, failed: goodbye }
        - stop: true
`
}

async function ops<T>({ opsUrl }: OwnExchange, path: string, body?: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json' }
  const post = { method: 'POST', headers, body: JSON.stringify(body) }
  const response = await fetch(opsUrl + path, body === undefined ? {} : post)
  const text = await response.text()
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`)
  return JSON.parse(text) as T
}

/** Rows of a campaign by their number. */
async function rowsOf(
  { opsUrl }: OwnExchange,
  campaign: string,
): Promise<ReadonlyMap<string, { readonly result: string; readonly callSid: string }>> {
  const csv = await (await fetch(`${opsUrl}/api/campaigns/${campaign}/report.csv`)).text()
  const [, ...lines] = csv.replaceAll('"', '').trim().split(/\r?\n/)
  return new Map(
    lines.map((line) => {
      const cells = line.split(',')
      return [(cells[0] ?? '').replace(/^'/, ''), { result: cells[3] ?? '', callSid: cells[7] ?? '' }]
    }),
  )
}

const LOOK_MS = 200

/** The row of a number, once it is over. */
async function overRow(
  own: OwnExchange,
  campaign: string,
  number: string,
): Promise<{ readonly result: string; readonly callSid: string }> {
  let row = { result: '', callSid: '' }
  const isOver = async (): Promise<boolean> => {
    await sleep(LOOK_MS)
    row = (await rowsOf(own, campaign)).get(number) ?? row
    return row.result !== ''
  }
  await until(isOver, 40_000, 'a row that is over')
  return row
}

/** The record of a call, once it is over. */
async function recordOf(own: OwnExchange, callSid: string): Promise<CallRecord> {
  let record: CallRecord | null = null
  const isOver = async (): Promise<boolean> => {
    await sleep(LOOK_MS)
    record = await ops<CallRecord>(own, `/api/calls/${callSid}`).catch(() => null)
    return record?.outcome !== undefined
  }
  await until(isOver, 30_000, `the record of ${callSid}`)
  return record as unknown as CallRecord
}

async function place(own: OwnExchange, to: string): Promise<string> {
  return (await ops<{ callSid: string }>(own, '/api/calls', { agent: 'order-status', to })).callSid
}

/** A gateway that answers webhooks as the test says. */
async function otherGateway(
  t: Test,
  answer: (fields: URLSearchParams, origin: string) => string,
): Promise<{ readonly origin: string; readonly posts: URLSearchParams[] }> {
  const posts: URLSearchParams[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      if (request.method === 'GET') {
        response.end(writeWav({ sampleRateHz: 8000, channels: 1, samples: tone(600, 1) }))
        return
      }
      const fields = new URLSearchParams(body)
      posts.push(fields)
      const document = `<Response>${answer(fields, origin)}</Response>`
      response.writeHead(200, { 'content-type': 'application/xml' }).end(document)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { origin, posts }
}

/** Leads a number elsewhere, through the carrier's REST API. */
async function lead({ restUrl, key }: OwnExchange, number: string, voiceUrl: string): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const { numbers } = (await (await fetch(`${restUrl}/v1/numbers`, { headers })).json()) as {
    numbers: { id: string; e164: string }[]
  }
  const id = numbers.find(({ e164 }) => e164 === number)?.id ?? ''
  const body = JSON.stringify({ routing_url: voiceUrl })
  const { status } = await fetch(`${restUrl}/v1/numbers/${id}`, { method: 'PATCH', headers, body })
  if (status !== 200) throw new Error(`the number was not led elsewhere: ${status}`)
}

/** Sound before the answer, as a trunk sends it; then somebody answers, and asks. */
async function atPerson(own: OwnExchange): Promise<() => Promise<{ call: SipCall; voicedBefore: number }>> {
  const phone = await own.phone(CUSTOMER)
  phone.onRing = 'sound-first'
  return async () => {
    const call = await rungAt(phone)
    call.say(tone(440, 1))
    await sleep(1200)
    const voicedBefore = voicedMs(call).length
    call.answer()
    // In the moment of the answer.
    call.say(hello)
    await until(() => voicedMs(call).length > 10, 20_000, 'the greeting')
    await silence(call)
    call.say(question)
    await until(() => !call.isSpeaking, 5000, 'the end of the question')
    const saidMs = performance.now()
    await until(() => voicedMs(call).some((atMs) => atMs > saidMs + 300), 15_000, 'an answer')
    call.hangUp()
    return { call, voicedBefore }
  }
}

async function atMailbox(own: OwnExchange): Promise<() => Promise<{ call: SipCall; beepMs: number }>> {
  const phone = await own.phone(MAILBOX)
  return async () => {
    const call = await rungAt(phone)
    await sleep(300)
    for (const part of [mailboxWords, new Int16Array(1600), tone(1000, 0.4)]) call.say(part)
    await until(() => !call.isSpeaking, 20_000, 'the end of the greeting')
    const beepMs = performance.now()
    await until(() => call.ended !== null, 30_000, 'a gateway that hangs up')
    return { call, beepMs }
  }
}

/** Says yes to the call back, and hears more. */
async function onceCalledBack(phone: SipPhone): Promise<SipCall> {
  const call = await rungAt(phone, 1, 60_000)
  call.say(hello)
  await until(() => voicedMs(call).length > 10, 20_000, 'the greeting')
  await silence(call)
  call.press('1')
  const yesMs = performance.now()
  await until(() => voicedMs(call).some((atMs) => atMs > yesMs + 300), 15_000, 'the conversation that goes on')
  await silence(call)
  call.hangUp()
  return call
}

/** @returns whether it was registered, and how much of a voice its ear had after the question, in milliseconds */
async function askWithLinphone(
  own: OwnExchange,
): Promise<{ readonly isRegistered: boolean; readonly voicedMs: number; readonly output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-ear-'))
  try {
    const sound = new Int16Array((LINPHONE_S + 5) * 8000)
    sound.set(question, QUESTION_S * 8000)
    const account = { server: own.sipPort, user: CUSTOMER, password: own.password }
    const { heard, isRegistered, output } = await callWithLinphone(folder, account, sound, LINPHONE_S)
    const wav = parseWav(await readFile(heard))
    const [pcm, frame] = [channelOf(wav, 0), wav.sampleRateHz / 50]
    let voiced = 0
    for (let at = (QUESTION_S + 1) * wav.sampleRateHz; at < pcm.length; at += frame)
      if (rmsOf(pcm.subarray(at, at + frame)) > 300) voiced += 20
    return { isRegistered, voicedMs: voiced, output }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

t.test('placed calls reach real telephones', { skip }, async (t) => {
  const own = await ownExchange(t, found as NonNullable<typeof found>, 'order-status', {
    agents: {
      'order-status.yaml': await orderLine(),
      'back.yaml': callsBack(new Date(Date.now() + WANTED_WITHIN_MS).toISOString().replace(/\.\d+/, '')),
    },
    numbers: { '101': 'back', '102': 'back' },
    dial: [
      `${CUSTOMER_NUMBER}=PJSIP/${CUSTOMER}`,
      ...[BUSY, DECLINES, MAILBOX, RINGS, CALLED_BACK, UNREGISTERED].map((user) => `${numberOf(user)}=PJSIP/${user}`),
    ],
    headers: ['X-Account'],
  })
  const back = await own.phone(CALLED_BACK)
  const first = await talking(back, '101', [`X-Account: ${ACCOUNT}`])
  await silence(first)
  first.press('8')
  await until(() => first.ended !== null, 20_000, 'the end of the call that promises another')
  const calledBack = onceCalledBack(back)

  // All of them ring at once.
  const person = await atPerson(own)
  const busy = await own.phone(BUSY)
  busy.onRing = 'busy'
  const declines = await own.phone(DECLINES)
  declines.onRing = 'decline'
  const machine = await atMailbox(own)
  const rings = await own.phone(RINGS)
  rings.onRing = 'ring'
  const numbers = [CUSTOMER_NUMBER, numberOf(BUSY), numberOf(DECLINES), numberOf(MAILBOX)]
  const { campaign } = await ops<{ campaign: { id: string } }>(own, '/api/campaigns', {
    ...{ name: 'phones', agent: 'order-status', window: '00:00-24:00', timeZone: 'UTC', perMinute: 600, tries: 1 },
    ...{ voicemail: 'message', csv: ['number', ...numbers, ''].join('\n') },
  })
  await ops(own, `/api/campaigns/${campaign.id}/start`, {})
  const unanswered = place(own, numberOf(RINGS))
  const unregistered = place(own, numberOf(UNREGISTERED))
  const talked = person()
  const recorded = machine()
  // Nothing of it is unhandled where an earlier test fails.
  for (const each of [calledBack, unanswered, unregistered, talked, recorded]) each.catch(() => undefined)
  const rowOf = async (number: string): Promise<{ readonly result: string; readonly record: CallRecord }> => {
    const row = await overRow(own, campaign.id, number)
    return { result: row.result, record: await recordOf(own, row.callSid) }
  }

  await t.test('a person who answers after early sound is understood', async (t) => {
    const { call, voicedBefore } = await talked
    t.equal(voicedBefore, 0, 'a call that only sounds is not answered')
    t.match(call.header('from'), OURS)
    const { result, record } = await rowOf(CUSTOMER_NUMBER)
    t.equal(result, 'person')
    t.match(record, { direction: 'outbound', outbound: { result } })
    const said = record.transcript.filter(({ role }) => role === 'caller').map(({ text }) => text)
    t.match(said.join(' '), /order/)
    t.match(record.timeline.find(({ name }) => name === 'answered-by')?.detail, /^human/, 'by the first word')
  })

  await t.test('a mailbox gets the message after its beep', async (t) => {
    const { call, beepMs } = await recorded
    const heard = voicedMs(call)
    t.equal(heard.filter((atMs) => atMs < beepMs).length, 0, 'nobody talks into the greeting')
    t.ok(heard.length > 75, `the message is heard: ${heard.length} packets`)
    t.equal(call.ended, 'the other side hung up', 'and the gateway hangs up')
    const { result, record } = await rowOf(numberOf(MAILBOX))
    t.equal(result, 'machine')
    t.match(record, { outcome: 'unreached', endReason: 'answering-machine', outbound: { result } })
    t.same(
      record.transcript.map(({ text }) => text),
      [MESSAGE],
    )
  })

  await t.test('phones that were not reached are distinguished [1]', async (t) => {
    for (const [user, result] of [
      [BUSY, 'busy'],
      [DECLINES, 'refused'],
    ] as const) {
      const row = await rowOf(numberOf(user))
      t.match(row, { result, record: { outcome: 'unreached', endReason: 'not-taken', outbound: { result } } })
    }
    t.match(await recordOf(own, await unanswered), { outcome: 'unreached', outbound: { result: 'no-answer' } })
    const rang = await rungAt(rings)
    await until(() => rang.ended !== null, 10_000, 'the end of the ringing')
    t.equal(rang.ended, 'cancelled', 'the gateway gives up')
    t.match(await recordOf(own, await unregistered), { outcome: 'unreached', outbound: { result: 'failed' } })
    t.match(await own.status(), { dialsRefused: 0, dialsFailed: 1 }, 'the one that is not registered')
  })

  const asked = withoutLinphone === false ? askWithLinphone(own) : null
  asked?.catch(() => undefined)

  await t.test('headers, Play and Dial work with any gateway', async (t) => {
    const { origin, posts } = await otherGateway(t, (fields, here) => {
      const dial = `<Dial timeout="20" callerId="${OURS}"><Number>+254720000010</Number></Dial>`
      const state = fields.get('callSessionState')
      return state === 'Ringing' ? `<Play>${here}/tone.wav</Play>${dial}` : state === 'DialCompleted' ? '<Hangup/>' : ''
    })
    await lead(own, '102', `${origin}/voice/any`)
    const human = await own.phone('201')
    human.onRing = 'sound-first'
    const call = await (await own.phone('200')).call('102', [`X-Account: ${ACCOUNT}`])
    const rang = await rungAt(human)
    t.ok(toneFrames(600, call, 0) > 30, 'Play is heard')
    t.equal(posts[0]?.get('SipHeader_X-Account'), ACCOUNT)
    t.match(rang.header('from'), OURS, 'the number of the document')
    t.equal(rang.header('x-mkondo-call'), posts[0]?.get('sessionId'))
    const ringsMs = performance.now()
    rang.say(tone(700, 1))
    await sleep(1500)
    t.ok(toneFrames(700, call, ringsMs) > 40, 'the caller hears its sound before the answer')
    t.equal(toneFrames(425, call, performance.now() - 300), 0, 'in place of the ringing tone')
    t.equal(rang.packets.length, 0, 'and is not heard there')
    rang.answer()
    // Silence is sent too, once they are on the line.
    await until(() => rang.packets.length > 5, 10_000, 'a human on the line')
    await hearEachOther(t, call, rang)
    rang.hangUp()
    await until(() => call.ended !== null, 10_000, 'the end of the call')
    t.equal(call.ended, 'the other side hung up')
  })

  await t.test('linphone asks and hears the answer', { skip: withoutLinphone }, async (t) => {
    const linphone = await asked
    t.equal(linphone?.isRegistered, true, 'it is registered')
    t.ok((linphone?.voicedMs ?? 0) > 1500, `${linphone?.voicedMs} ms of a voice: ${linphone?.output.slice(-700)}`)
    const inbound = async (): Promise<CallRecord | undefined> =>
      (await callRecords(own)).find(({ direction, agent }) => direction === 'inbound' && agent === 'order-status')
    await until(async () => (await inbound()) !== undefined, 10_000, 'the record of its call')
    const said = (await inbound())?.transcript.filter(({ role }) => role === 'caller').map(({ text }) => text) ?? []
    t.match(said.join(' '), /order/, 'and it was heard')
  })

  await t.test('a call back rings the promised phone', async (t) => {
    t.match((await calledBack).header('from'), OURS)
    const { result, callSid } = await overRow(own, 'call-backs', numberOf(CALLED_BACK))
    t.equal(result, 'person')
    const record = await recordOf(own, callSid)
    t.match(record, { direction: 'outbound', outbound: { result: 'person' } })
    t.match(
      record.transcript
        .filter(({ role }) => role === 'agent')
        .map(({ text }) => text)
        .join(' '),
      /You can collect it at the desk/,
    )
  })

  t.notMatch([...own.gateway.lines, ...own.exchange.lines].join('\n'), /gold, 4127/, 'no log has a header')
})
