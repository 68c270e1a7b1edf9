import { signatureText } from './wire-facts.js'
import type { CallFacts, PostFacts, Question, StreamFacts } from './wire-facts.js'

/** Text report of the calls. */
export function reportText(
  calls: readonly CallFacts[],
  questions: readonly Question[],
  settings: Readonly<Record<string, string>>,
): string {
  const lines = Object.entries(settings).map(([name, value]) => `  ${name}=${value}`)
  return [
    ...calls.map(callText),
    '',
    'Open questions of docs/PROTOCOL.md, and what this call answers:',
    ...questions.map(
      ({ question, answer }) =>
        `  ${answer === null ? 'open   ' : 'settled'} ${question}${answer === null ? '' : ` ${answer}`}`,
    ),
    '',
    ...(lines.length === 0 ? ['No settings follow.'] : ['Settings that follow:', ...lines]),
    '',
  ].join('\n')
}

function callText({ track, posts, stream, afterStream }: CallFacts): string {
  const first = posts.find(({ url }) => url === 'voice')
  const rows: [string, string][] = [
    ...(first === undefined ? [] : firstPostRows(first)),
    ['webhooks', posts.map(({ atMs, url, state }) => `${(atMs / 1000).toFixed(1)} s ${url} ${state}`).join(', ')],
    ...(stream === null ? ([['audio socket', 'none was opened']] as [string, string][]) : streamRows(stream)),
    ['after the stream', afterText(afterStream)],
  ]
  return [`\nThe call (${track}):`, ...rows.map(([name, what]) => `  ${name.padEnd(17)} ${what}`)].join('\n')
}

function firstPostRows({ contentType, fields, signature }: PostFacts): [string, string][] {
  return [
    ['first POST', `${contentType ?? 'no content type'}: ${fieldsText(fields)}`],
    ['signature', signatureText(signature)],
  ]
}

function streamRows({
  openedAtMs,
  headers,
  firstText,
  texts,
  audio,
  killAudio,
  keys,
}: StreamFacts): [string, string][] {
  const sizes = audio.sizes.map(({ bytes, messages }) => `${bytes} bytes (${messages} times)`).join(', ')
  const others = Object.entries(texts).map(([type, count]) => `${type} (${count})`)
  return [
    ['audio socket', `opened after ${openedAtMs} ms, with the headers ${headers.join(', ')}`],
    [
      'first text frame',
      firstText === null
        ? 'none'
        : `${firstText.beforeAudio ? 'before' : 'after'} the first audio: ${fieldsText(firstText.fields)}`,
    ],
    ['other text frames', others.length === 0 ? 'none' : others.join(', ')],
    [
      'audio',
      audio.messages === 0
        ? 'none came'
        : `${sizes}; largest ${audio.largestBytes}, ${audio.channels === 1 ? 'one channel' : 'two channels'}, longest gap ${audio.longestGapMs} ms`,
    ],
    ['killAudio', `${killAudio.seen}; marks ${killAudio.marks}`],
    ['keys', `${keys.asTones} as tones, ${keys.asTexts} as text frames, ${keys.asPosts} as POSTs`],
  ]
}

function fieldsText(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, form]) => `${name}=${form}`)
    .join(', ')
}

function afterText({ seen, askedBy, askedAfterMs, hangUp }: CallFacts['afterStream']): string {
  const asked = askedBy === null ? 'no request' : `${askedBy} asked after ${askedAfterMs ?? 0} ms`
  const ended = {
    ended: '; the REST API ended the call',
    'not-ended': '; the REST API did not end the call',
    refused: '; the REST API refused to end the call',
  }
  return `${seen === 'unknown' ? 'not seen' : seen}: ${asked}${hangUp === null ? '' : ended[hangUp]}`
}
