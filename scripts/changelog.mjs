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
 * @returns the subject of a fragment, and its entries, each a line
 * @throws Error that says what of the fragment is wrong and what is allowed
 */
export function fragment(name, text) {
  const [heading = '', ...lines] = text.trimEnd().split('\n')
  const subject = SUBJECTS.find((one) => heading === `### ${one}`)
  if (subject === undefined)
    throw new Error(
      `${name}: its first line is '${heading}'; allowed: ${SUBJECTS.map((one) => `'### ${one}'`).join(', ')}`,
    )
  const entries = lines.filter((line) => line.trim() !== '')
  const wrong = entries.find((line) => !/^- \S/.test(line))
  if (wrong !== undefined) throw new Error(`${name}: '${wrong}' is not an entry; allowed: lines that begin with '- '`)
  if (entries.length === 0) throw new Error(`${name}: it has no entry; allowed: lines that begin with '- '`)
  return { subject, entries }
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
  const read = changes.map(({ name, text }) => fragment(name, text))
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
