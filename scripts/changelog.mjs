// Reads CHANGELOG.md by release, and joins the fragments of changes/ to the section of the next release.

/** The subjects of a section, in their order. */
export const SUBJECTS = [
  'Agents and conversations',
  'Languages',
  'Tools',
  'Models and voices',
  'Placed calls',
  'Numbers and money',
  'Records, recordings and messages',
  'Operating',
  'Fixed',
]

const UNRELEASED = '## Unreleased\n'

/**
 * @param name name of the fragment's file, for errors
 * @returns the entries of a fragment by subject; each entry is one line
 * @throws Error that names the fault and the allowed form
 */
export function fragment(name, text) {
  const allowed = SUBJECTS.map((one) => `'### ${one}'`).join(', ')
  const read = []
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    const last = read.at(-1)
    if (line.startsWith('###') || last === undefined) {
      const subject = SUBJECTS.find((one) => line === `### ${one}`)
      if (subject === undefined) throw new Error(`${name}: a subject is '${line}'; allowed: ${allowed}`)
      read.push({ subject, entries: [] })
    } else if (/^- \S/.test(line)) last.entries.push(line)
    else throw new Error(`${name}: '${line}' is not an entry; allowed: lines that begin with '- '`)
  }
  const empty = read.find(({ entries }) => entries.length === 0)
  if (read.length === 0 || empty !== undefined)
    throw new Error(`${name}: ${empty?.subject ?? 'it'} has no entry; allowed: lines that begin with '- '`)
  return read
}

/** @returns the text of a version's section without its heading; null if the changelog does not have the section */
export function sectionOf(changelog, version) {
  const section = changelog.split(/^## /m).find((one) => one.startsWith(`${version} (`))
  return section === undefined ? null : section.slice(section.indexOf('\n') + 1).trim()
}

/**
 * @param changes  the fragments, each `{ name, text }`
 * @returns the changelog with a section for `version` below "Unreleased". In each subject, breaking entries come first
 * @throws Error if the changelog already has the section or lacks "Unreleased", or if a fragment is wrong
 */
export function joined(changelog, { version, date, changes }) {
  if (sectionOf(changelog, version) !== null) throw new Error(`CHANGELOG.md has a section ${version} already`)
  const at = changelog.indexOf(UNRELEASED)
  if (at === -1) throw new Error(`CHANGELOG.md has no '${UNRELEASED.trim()}'`)
  if (changes.length === 0) throw new Error('changes/ has nothing that could be released')
  const read = changes.flatMap(({ name, text }) => fragment(name, text))
  const subjects = SUBJECTS.flatMap((subject) => {
    const entries = read.filter((one) => one.subject === subject).flatMap((one) => one.entries)
    const breaks = (entry) => entry.startsWith('- **Breaking:**')
    const sorted = [...entries.filter(breaks), ...entries.filter((entry) => !breaks(entry))]
    return sorted.length === 0 ? [] : [`### ${subject}\n\n${sorted.join('\n')}\n`]
  })
  const [head, rest] = [changelog.slice(0, at + UNRELEASED.length), changelog.slice(at + UNRELEASED.length)]
  const below = rest.indexOf('\n## ')
  const [open, older] = below === -1 ? [rest, ''] : [rest.slice(0, below), rest.slice(below)]
  return `${head}${open.trimEnd()}\n\n## ${version} (${date})\n\n${subjects.join('\n')}${older}`
}
