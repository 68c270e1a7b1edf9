import type { ImportOptions } from '../knowledge/import.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, jsonOption } from '../options.js'
import type { Define } from './define.js'

export const defineKnowledge: Define = (program, terminal, ends) => {
  const knowledge = program
    .command('knowledge')
    .description("make knowledge for agents from a business's own documents")
    .helpCommand(false)
  const command = knowledge
    .command('import')
    .description('make Markdown passages from PDF, DOCX, XLSX, CSV, HTML and Markdown files, for a person to review')
    .argument('<file...>', 'documents; the file name extension selects the format')
    .option('--out <folder>', 'folder for the .md files, one for each document', 'knowledge')
    .addOption(
      chosen(
        '--tables <form>',
        'rows: a passage for each row; sentences: the rows together under their heading (default: rows where the first column names them)',
        ['rows', 'sentences'],
      ),
    )
    .option('--replace', 'replace existing files')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Each heading begins a passage, and a longer text is divided at paragraphs and sentences. Each passage keeps its source,
place and day, which callers do not hear. No agent gets the passages before a person has read them and named the file under
knowledge (docs/AGENTS.md, "Knowledge"). Packages for a kind of file are named when they are missing. A gateway never loads them.`,
    )
  withExitCodes(command, 'written', null, 'a file cannot be read, is there already, or needs a package').action(
    async (files: string[], options: ImportOptions) => {
      const { importKnowledge } = await import('../knowledge/import.js')
      ends(await importKnowledge(files, options, terminal))
    },
  )
}
