import type { WhyView } from '../call/why/why.js'
import { printed } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import type { Terminal } from './terminal.js'

/** `mkondo why`. */
export function why(sid: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, `/api/calls/${sid}/why`, whyPage)
}

/** Explanation of a call, as a page for a terminal. */
export function whyPage(view: WhyView): string {
  const { callSid, agent, startedAt, outcome, served, endReason, cause, turns, turnsLeftOut, unusual } = view
  // A node of an earlier version does not send remarks.
  const {
    decisions,
    unheard,
    usual,
    remarks = [],
  } = view as Omit<WhyView, 'remarks'> & Partial<Pick<WhyView, 'remarks'>>
  const compared = usual === null ? 'no index of calls' : `${usual.calls} earlier calls of ${agent}`
  const section = (heading: string, lines: readonly string[], none: string): string[] => [
    ...['', heading],
    ...(lines.length === 0 ? [none] : lines).map((line) => `  ${line}`),
  ]
  const at = ({ atMs, text }: { readonly atMs: number; readonly text: string }): string =>
    `${(atMs / 1000).toFixed(2)} s`.padStart(10) + `  ${text}`
  return `${[
    cause.text,
    ...(cause.about.length === 0 ? [] : [`See ${cause.about.map(({ name }) => name).join(', ')}.`]),
    '',
    `${callSid}  ${agent}, ${startedAt}: ${outcome}${served === null ? '' : `, caller ${served}`} (${endReason})`,
    ...section(
      'Waits of the caller',
      [
        ...turns.map(({ turn, text }) => `${turn}. ${text}`),
        ...(turnsLeftOut > 0 ? [`${turnsLeftOut} faster turns are left out.`] : []),
      ],
      'The caller did not wait for an answer.',
    ),
    ...section(
      `Unusual values (compared with ${compared})`,
      [...remarks.map(at), ...unusual.map(({ text }) => text)],
      'No value is unusual.',
    ),
    ...section('Decisions of the gateway', decisions.map(at), 'There are no decisions besides the ends of turns.'),
    ...section('Speech that the caller did not hear', unheard.map(at), 'The caller heard all speech of the agent.'),
  ].join('\n')}\n`
}
