// CHANGELOG.md by release, and the fragments of changes/ that the next release joins to it.

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
 * @param name  of the fragment's file, for errors
 * @returns the entries of a fragment, each a line, with their subjects
 * @throws Error that says what of the fragment is wrong and what is allowed
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

/** @returns the text of a version's section without its heading, or null where the changelog has none */
export function sectionOf(changelog, version) {
  const section = changelog.split(/^## /m).find((one) => one.startsWith(`${version} (`))
  return section === undefined ? null : section.slice(section.indexOf('\n') + 1).trim()
}

/**
 * @param changes  the fragments, each `{ name, text }`
 * @returns the changelog with a section of `version` below "Unreleased", whose breaking entries come first in each subject
 * @throws Error where it has that section, has no "Unreleased", or a fragment is wrong
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
