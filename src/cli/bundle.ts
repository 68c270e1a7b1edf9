import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CallRecord } from '../call/record.js'
import { packageVersion } from '../config/package-root.js'
import { loadConfig } from '../config/load-config.js'
import { messageOf } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import { timelineOf } from '../call/call-view.js'
import { callRecordSchema } from '../workers/record-format.js'
import { HELP_OPTION, PROCESS_TERMINAL, exactly, json, wordsAndOptions, wrongUse } from './command-line.js'
import type { Terminal } from './command-line.js'
import { cutJournal } from './journal-cut.js'
import { OpsClient, opsUrlOf, refusalOf } from './ops-client.js'
import { redactForSupport } from './support-redaction.js'
import { tarOf } from './tar.js'

const HELP = `mkondo bundle SID: collects what support needs of an ended call in one file, mkondo-bundle-SID.tar.gz

  record.json     the call record: times, figures, decisions, errors
  timeline.json   its timeline, as mkondo calls timeline shows it
  journal.jsonl   its journal where one was kept (JOURNAL_CALLS): mkondo replay runs it again
  settings.json   settings of the gateway; of secrets only whether they are set
  node.json       backends, recent refusals and nodes
  README.txt      what was redacted, and what is missing and why

  Every letter of what anybody said is an x, every digit a 0; phone numbers, keys and addresses are masked; audio is left
  out. Read it before you send it.

  --with-words   leaves what was said, without phone numbers; only where the caller agrees
  --to FOLDER    where the file is written (.)
  --json         JSON instead of text
  --ops-url URL  ops port of any node (http://127.0.0.1:9464; token in OPS_TOKEN)
  --config FILE  settings file (default mkondo.yaml, if it is there)

  Exit code: 0 written, 1 there is no such call, or the file cannot be written, 2 wrong usage.
`

/** What is in a bundle, and what is not. */
interface Bundle {
  readonly files: Readonly<Record<string, string>>
  readonly redacted: readonly string[]
  readonly missing: readonly string[]
}

/** `mkondo bundle`. */
export async function bundle(argv: readonly string[], terminal: Terminal = PROCESS_TERMINAL): Promise<number> {
  const { values, words } = wordsAndOptions('bundle', argv, {
    'with-words': { type: 'boolean', default: false },
    to: { type: 'string', default: '.' },
    json: { type: 'boolean', default: false },
    'ops-url': { type: 'string' },
    config: { type: 'string' },
    help: HELP_OPTION,
  })
  if (values.help) {
    terminal.out(HELP)
    return 0
  }
  const [callSid = ''] = exactly('bundle', words, 'the SID of a call')
  if (!isCallSid(callSid)) throw wrongUse('bundle', 'a SID is 1 to 64 characters of A-Z a-z 0-9 _ -')
  const config = loadConfig(terminal.env, values.config ?? null)
  const ops = new OpsClient(values['ops-url'] ?? opsUrlOf(config), config.opsToken)
  const { files, redacted, missing } = await collect(ops, callSid, config.opsToken, values['with-words'])
  const name = `mkondo-bundle-${callSid}`
  const readme = readmeOf(callSid, { files, redacted, missing })
  const path = join(values.to, `${name}.tar.gz`)
  await writeFile(path, tarOf(name, { 'README.txt': readme, ...files }, Date.now()), { mode: 0o600 })
  terminal.out(
    values.json
      ? json({ path, files: ['README.txt', ...Object.keys(files)], redacted, missing })
      : `${path}\n\n${readme}`,
  )
  return 0
}

/** @throws GatewayError when the gateway does not answer, or has no record of the call */
async function collect(ops: OpsClient, callSid: string, token: string | null, withWords: boolean): Promise<Bundle> {
  const missing: string[] = []
  const { status, body } = await ops.get(`/api/calls/${callSid}`)
  if (status !== 200) throw refusalOf(body, status)
  const read = callRecordSchema.safeParse(body)
  if (!read.success) throw wrongUse('bundle', 'the call is live: it has a record when it has ended')
  const { record, redacted } = redactForSupport(read.data, withWords)
  const files: Record<string, string> = {
    'record.json': json(record),
    'timeline.json': json(timelineOf(record as CallRecord, null)),
  }
  const said = [
    `record.json, timeline.json: ${redacted.texts} texts became their shape; ${redacted.masked} texts had a number, key or address masked`,
  ]
  const journal = await journalOf(ops, callSid, token)
  if (typeof journal === 'string') {
    try {
      files['journal.jsonl'] =
        `${cutJournal(journal.split('\n'), { untilS: null, withWords, withAudio: false }).join('\n')}\n`
      said.push(
        `journal.jsonl: its audio is left out, its SID is another, ${withWords ? 'and' : 'every letter and digit of what was said is replaced, and'} numbers are masked`,
      )
    } catch (thrown) {
      missing.push(`journal.jsonl: ${messageOf(thrown)}`)
    }
  } else missing.push(`journal.jsonl: ${journal.why}`)

  const [settings, backends, refusals, fleet] = await Promise.all(
    ['/api/settings', '/api/backends', '/api/refusals', '/api/fleet'].map((path) => ops.get(path)),
  )
  if (settings?.status === 200) {
    files['settings.json'] = json({ mkondo: packageVersion(), node: process.version, ...settings.body })
    said.push('settings.json: of secrets only whether they are set')
  } else missing.push('settings.json: this gateway does not give its settings')
  const ofCall = (refusals?.body['refusals'] as readonly { readonly callSid: string | null }[] | undefined)?.filter(
    (refusal) => refusal.callSid === callSid,
  )
  files['node.json'] = json({
    backends: backends?.body['backends'] ?? null,
    refusals: ofCall ?? [],
    fleet: fleet?.status === 200 ? fleet.body : null,
  })
  missing.push(
    `log lines: they are where your logs are; those of this call have "call_sid":"${callSid}"`,
    'recording.wav and the handoff packet: they cannot be redacted',
  )
  return { files, redacted: said, missing }
}

/** The journal, from the node that has it. */
async function journalOf(
  ops: OpsClient,
  callSid: string,
  token: string | null,
): Promise<string | { readonly why: string }> {
  const path = `/api/calls/${callSid}/journal.jsonl`
  const first = await ops.text(path)
  if (typeof first === 'string') return first
  const { message } = refusalOf(first.body, first.status)
  const elsewhere = /: ask (http:\/\/\S+?)\/api\/calls\//.exec(message)?.[1]
  if (elsewhere === undefined) return { why: message }
  try {
    const second = await new OpsClient(elsewhere, token).text(path)
    return typeof second === 'string' ? second : { why: refusalOf(second.body, second.status).message }
  } catch (thrown) {
    return { why: messageOf(thrown) }
  }
}

function readmeOf(callSid: string, { files, redacted, missing }: Bundle): string {
  const list = (lines: readonly string[]): string => lines.map((line) => `  ${line}\n`).join('')
  return (
    `Support bundle of call ${callSid}, made by mkondo ${packageVersion()}\n\n` +
    `In it:\n${list(Object.keys(files))}\nRedacted:\n${list(redacted)}\nNot in it:\n${list(missing)}`
  )
}
