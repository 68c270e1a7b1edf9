import type { OpenAiLiveOptions as OwnOptions } from '../options.js'
import type { BackendSession, SessionUpdate } from '../../../backends/backend.js'

type OwnPrompt = NonNullable<OwnOptions['live']>

/**
 * The only model that begins a delegation with this marker. Later models use a plain sentence and would speak the
 * marker aloud.
 */
const MARKED_MODEL = 'gpt-live-1'
const MARKER = '<|SpawnThinking|>'
/**
 * Maximum number of characters of a tool's description in the voice's prompt. The voice only decides if it delegates.
 */
const TOOL_CHARS_MAX = 120
/**
 * Maximum number of characters of the greeting for the voice. The voice gets the greeting so that it does not greet
 * again.
 */
const GREETING_CHARS_MAX = 300

const BACKCHANNELS = 'Use few of them, short, and never while you have something to say.'
const INTERRUPTIONS = 'Stop speaking as soon as the caller speaks. Listen, and answer their newest words.'
const DELEGATE_WHEN: readonly string[] = [
  'The caller wants anything that one of the backend tools does, or asks for a fact that you were not told.',
  'The caller gives what the backend asked for: a number, a name, a proof, a yes or a no.',
  'The caller corrects or takes back what was delegated before.',
  'The caller says goodbye, or asks for a human.',
]
const ANSWER_YOURSELF_WHEN: readonly string[] = [
  'It is a greeting, thanks or small talk.',
  'What was said already, or a result that still holds, answers it.',
  'You did not understand the caller: ask them briefly to say it again.',
]

/**
 * Makes the voice's own prompt, short and with the three headings of the vendor's guide for live models. Only the
 * delegate gets the agent's procedures: a voice with procedures answers by itself, and no tool runs.
 * @param model the service's name of the model
 * @param own the agent's `live:` block; each part replaces the default part, but the headings stay
 */
export function livePrompt(session: BackendSession, model: string, own: OwnPrompt = {}): string {
  return [
    own.prompt ?? whoItIs(session),
    '',
    `Backchannel policy: ${own.backchannels ?? BACKCHANNELS}`,
    '',
    `Interruption policy: ${own.interruptions ?? INTERRUPTIONS}`,
    '',
    'Delegation policy:',
    'Backend tools:',
    ...toolLines(session.tools),
    '',
    'Delegate to the backend when:',
    ...list(own.delegateWhen ?? DELEGATE_WHEN),
    '',
    'Do not delegate to the backend when:',
    ...list(own.answerYourselfWhen ?? ANSWER_YOURSELF_WHEN),
    '',
    ...(model === MARKED_MODEL ? [`To delegate, output ${MARKER}, which is never said aloud.`] : []),
    'Delegate before you answer, and state nothing about a result before the backend gave it.',
  ].join('\n')
}

/** @returns a text for a voice whose prompt can no longer be replaced; null if no text is needed */
export function livePromptUpdate({ instructions, tools }: SessionUpdate): string | null {
  const lines = [
    ...(tools === undefined ? [] : ['Backend tools, which replace those before:', ...toolLines(tools)]),
    ...(instructions === undefined
      ? []
      : ['The backend has new instructions. Delegate what the caller says next, also if you could answer it before.']),
  ]
  return lines.length === 0 ? null : lines.join('\n')
}

function whoItIs({ agent, language, languages, greeting }: BackendSession): string {
  const names = new Intl.DisplayNames('en', { type: 'language', fallback: 'code' })
  const others = languages.filter((tag) => tag !== language).map((tag) => names.of(tag) ?? tag)
  return [
    `You are the voice of ${agent} on the telephone. Speak warmly, clearly and briefly, one question at a time.`,
    `Begin in ${names.of(language) ?? language}${others.length === 0 ? '.' : `, and follow the caller into ${others.join(' or ')}.`}`,
    'You know nothing about this service but what you are told in this call: the backend does.',
    ...(greeting === null || greeting === ''
      ? []
      : [
          `You are given this greeting to begin the call with; greet only once: ${greeting.slice(0, GREETING_CHARS_MAX)}`,
        ]),
  ].join('\n')
}

function toolLines(tools: BackendSession['tools']): string[] {
  return list([
    'answers: what this service offers, its rules and its procedures',
    ...tools.map(({ name, description }) => `${name}: ${firstSentence(description)}`),
  ])
}

function firstSentence(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ')
  const end = line.search(/[.!?] /)
  return line.slice(0, Math.min(end < 0 ? line.length : end + 1, TOOL_CHARS_MAX))
}

function list(lines: readonly string[]): string[] {
  return lines.map((line) => `- ${line}`)
}
