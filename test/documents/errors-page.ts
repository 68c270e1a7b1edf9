import { ERRORS, HTTP_ERRORS } from '../../src/core/error-codes.js'
import type { ErrorExplanation } from '../../src/core/error-codes.js'
import { tableRow, withMadeSection } from './made-section.js'

const HEADINGS: Readonly<Record<keyof typeof ERRORS, string>> = {
  usage: 'Settings, files and start: a command ends with exit code 2',
  carrier: 'Webhooks, sockets and documents',
  calls: 'Admission and calls in progress',
  backends: 'Sessions with models',
  tools: 'Tools',
  speech: 'Recogniser and voices on this machine',
  outbound: "The carrier's REST API and calls that the gateway places",
  stores: 'Stores',
}

/** The page of all error codes: docs/ERRORS.md. */
export function errorsPage(): string {
  const groups = Object.entries(HEADINGS).map(([group, heading]) =>
    section(heading, ERRORS[group as keyof typeof ERRORS]),
  )
  const http = section('Only at the HTTP ports, which may also report each code above', HTTP_ERRORS)
  return withMadeSection('docs/ERRORS.md', 'codes', [...groups, http].join(''))
}

function section(heading: string, codes: Readonly<Record<string, ErrorExplanation>>): string {
  const rows = Object.entries(codes).map(([code, { cause, action }]) =>
    tableRow([`\`${code}\``, linked(cause), linked(action)]),
  )
  return `### ${heading}\n\n| code | cause | remedy |\n|---|---|---|\n${rows.join('\n')}\n\n`
}

/** Names of documents and runbooks become links. */
function linked(text: string): string {
  return text
    .replace(/\b[A-Z-]+\.md\b/g, (page) => `[${page}](${page})`)
    .replace(/the runbook ([a-z-]+)/g, (_, name: string) => `the runbook [${name}](runbooks/${name}.md)`)
}
