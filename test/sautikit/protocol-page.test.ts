import t from 'tap'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEvent, parseStreamStatus, parseWebhook } from '../../src/sautikit/webhook.js'
import { parseStreamText } from '../../src/sautikit/stream-messages.js'
import { checkToken } from '../../src/sautikit/token.js'
import { voiceXml } from '../../src/sautikit/actions.js'

/** `docs/PROTOCOL.md`, found from the compiled test upwards. */
function page(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return readFileSync(join(folder, 'docs/PROTOCOL.md'), 'utf8')
}

/** The fenced blocks of the section that begins with `## n.`, in order. */
function examples(section: number): readonly string[] {
  const text =
    page()
      .split(/^## /m)
      .find((part) => part.startsWith(`${section}.`)) ?? ''
  return [...text.matchAll(/^```[a-z]*\n([\s\S]*?)^```$/gm)].map((match) => (match[1] ?? '').trim())
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

const SID = 'HD_0a8d5911d055'
const FORM = 'application/x-www-form-urlencoded'

t.test('every example of the protocol page is parsed as described', (t) => {
  const [request = '', json = '', ...none] = examples(1)
  const form = request.slice(request.indexOf('\n\n')).replace(/\n/g, '')
  for (const webhook of [parseWebhook(FORM, bytes(form)), parseWebhook('application/json', bytes(json))]) {
    t.match(webhook, { callSid: SID, from: '+254700000001', to: '+254700000002', state: 'ringing' })
  }
  t.equal(none.length, 0)

  const [wrapper = '', nested = '', opaque = ''] = examples(5)
  t.match(parseStreamText(wrapper, true), [{ callSid: SID }])
  t.match(parseStreamText(nested, true), [{ callSid: SID }])
  t.match(parseStreamText(opaque, true), [{ callSid: null }])

  const [status = '', bare = ''] = examples(6)
  t.match(parseStreamStatus(FORM, bytes(status)), {
    event: 'stream-error',
    callSid: SID,
    error: 'connect failed',
  })
  t.match(parseStreamStatus('application/json', bytes(bare), SID), {
    event: 'stream-stopped',
    callSid: SID,
    streamSid: 'ST_1',
  })

  const [completed = '', failed = '', flat = ''] = examples(7)
  t.match(parseEvent('application/json', bytes(completed)), {
    state: 'completed',
    callSid: SID,
    durationS: 76,
    eventId: 'evt_1',
  })
  t.match(parseEvent('application/json', bytes(failed)), { state: 'no-answer', callSid: SID, eventId: 'evt_2' })
  t.match(parseEvent(undefined, bytes(flat)), { state: 'stream-stopped', callSid: SID, streamSid: 'ST_1', kind: null })
  t.end()
})

t.test("the messages in the page's tables parse as described", (t) => {
  const read = (text: string): unknown => parseStreamText(text, false)[0]
  const section =
    page()
      .split(/^## /m)
      .find((part) => part.startsWith('5.')) ?? ''
  const shown = [...section.matchAll(/`(\{"[^`]*\})`/g)].map((match) => match[1] ?? '')
  const types = shown.map((text) => (read(text) as { type: string }).type)
  t.strictSame(types, ['mark', 'dtmf', 'dtmf', 'dtmf', 'unknown', 'unknown', 'unknown', 'unknown', 'unknown'])
  t.end()
})

t.test("the page's example token is valid", (t) => {
  const token = examples(2)
    .join('\n')
    .match(/^a\..*$/m)?.[0]
  t.match(checkToken(['example-secret'], token, { purpose: 'audio', nowS: 1751000060 }), {
    result: 'ok',
    callSid: SID,
    epoch: 1,
  })
  t.end()
})

t.test("the page's document matches its actions", (t) => {
  const [shown = ''] = examples(3)
  const oneLine = shown.replace(/\n\s+(?=[a-zA-Z])/g, ' ').replace(/>\s+</g, '><')
  t.equal(
    oneLine,
    voiceXml([
      {
        verb: 'stream',
        name: 'order-status',
        url: 'wss://gw.example/audio?token=a.X',
        track: 'inbound_track',
        connect: true,
        samplingRateHz: 16000,
        openMetadata: '{"tier":"gold"}',
        headerMetadata: { x: 'y' },
        statusCallback: 'https://gw.example/stream-status?token=s.X',
        statusEvents: ['stream-started', 'stream-stopped', 'stream-error'],
      },
      { verb: 'redirect', url: 'https://gw.example/after-stream?token=c.X', method: 'POST' },
    ]).replaceAll('.X', '.…'),
  )
  t.end()
})
