import tseslint from 'typescript-eslint'

/** Words of names and comments for which the field has another one; each with the one to use. */
const REPLACED = {
  crew: 'backends in their order',
  heir: 'standby',
  dealer: 'routing',
  hush: 'fall silent',
  refeed: 'input replay',
  mind: 'dialogue model',
  shard: 'media worker',
  deflected: 'contained',
  screening: 'answering-machine detection, amd',
}
const words = {
  create(context) {
    const replaced = Object.entries(REPLACED).map(([word, instead]) => ({
      found: new RegExp(`\\b${word}\\b|^${word}(?=[A-Z])|(?<=[a-z])${word[0].toUpperCase()}${word.slice(1)}(?![a-z])`),
      message: `Not "${word}" but: ${instead}.`,
    }))
    const check = (node, text) => {
      for (const { found, message } of replaced) if (found.test(text)) context.report({ node, message })
    }
    return {
      Identifier: (node) => check(node, node.name),
      PrivateIdentifier: (node) => check(node, node.name),
      Program: () => {
        for (const comment of context.sourceCode.getAllComments()) check(comment, comment.value)
      },
    }
  },
}

/** Beginnings and phrases of comments that have to be read twice (docs/GLOSSARY.md), each with a way out. */
const UNCLEAR_BEGINNING = /^[\s*]*(?:What|Of|Whether)\b/
const UNCLEAR = [
  [/\bso many\b/i, 'Not "so many": name the number, such as "this number of".'],
  [/\bit is looked\b/i, 'Not "it is looked whether": name what is checked.'],
  [/\btold\b/i, 'Not "told": name who gets, knows, reports or distinguishes the thing.'],
  [/\bhas it\b/i, 'Not "has it": name what contains, owns or keeps the thing.'],
  [/\bstands in\b/i, 'Not "stands in": name what replaces or contains the thing.'],
]
const comments = {
  create: (context) => ({
    Program() {
      const all = context.sourceCode.getAllComments()
      for (const [i, comment] of all.entries()) {
        const report = (message) => context.report({ node: comment, message })
        // Identifiers and quoted words are no prose.
        const text = comment.value.replace(/\s*\n\s*\*\s*/g, ' ').replace(/`[^`]*`|"[^"]*"|@param \S+/g, '``')
        for (const [found, message] of UNCLEAR) if (found.test(text)) report(message)
        const { type, loc } = all[i - 1] ?? comment
        const { line, column } = comment.loc.start
        const continues = type === 'Line' && loc.start.line === line - 1 && loc.start.column === column
        if (!continues && UNCLEAR_BEGINNING.test(text))
          report('A comment begins with a noun or a verb: "Outcome of …", "True if …".')
      }
    },
  }),
}

/** The text of a string expression, without what is put in; empty for any other. */
const textOf = (node) => {
  switch (node?.type) {
    case 'Literal':
      return String(node.value)
    case 'TemplateLiteral':
      return node.quasis.map(({ value }) => value.cooked).join('``')
    case 'BinaryExpression':
      return textOf(node.left) + textOf(node.right)
    default:
      return ''
  }
}

/** Help of settings, and descriptions in schemas, from which documents are made, read as comments do. */
const descriptions = {
  create: (context) => {
    const check = (node) => {
      const text = textOf(node)
      for (const [found, message] of UNCLEAR) if (found.test(text)) context.report({ node, message })
      if (UNCLEAR_BEGINNING.test(text))
        context.report({ node, message: 'A description begins with a noun or a verb: "Price of …", "Keeps …".' })
    }
    return {
      'CallExpression[callee.property.name="describe"]': ({ arguments: [text] }) => check(text),
      'Property[key.name="help"]': ({ value }) => check(value),
      'CallExpression[callee.property.name="meta"] Property[key.name="description"]': ({ value }) => check(value),
    }
  },
}

/** An option of a public type that may be absent has its default in its comment. */
const defaults = {
  create: (context) => ({
    'TSInterfaceDeclaration TSPropertySignature[optional=true]'(node) {
      const comment = context.sourceCode.getCommentsBefore(node).at(-1)
      // Not in the type of an argument: there its function says what an absent one means.
      const option = node.parent.parent.type === 'TSInterfaceDeclaration'
      if (option && !comment?.value.includes('@defaultValue'))
        context.report({ node, message: 'An optional property of a public type has its @defaultValue.' })
    },
  }),
}

/**
 * Answers of the gateway have the types of the side that answers: the console casts to no shape of its own, but for one with a
 * single field.
 */
const answers = {
  create: (context) => {
    const check = (type) => {
      const own = context.sourceCode
        .getScope(type)
        .references.find(({ identifier }) => identifier === type?.typeName)
        ?.resolved?.defs.some(({ node }) => node.type === 'TSInterfaceDeclaration' && node.extends.length === 0)
      if (own || (type?.type === 'TSTypeLiteral' && type.members.length > 1))
        context.report({ node: type, message: 'Import the type of the answer from the side that answers (src/edge).' })
      for (const part of type?.types ?? []) check(part)
    }
    return {
      TSAsExpression: ({ typeAnnotation }) => check(typeAnnotation),
      'CallExpression[callee.name=/^(getJson|useJson)$/]': ({ typeArguments }) => check(typeArguments?.params[0]),
    }
  },
}

export default tseslint.config(
  {
    ignores: [
      'dist/**',
      '.build/**',
      'coverage/**',
      'node_modules/**',
      '**/*.js',
      '**/*.mjs',
      '**/*.cjs',
      '.tap/**',
      'src/media/vad/caller-kernel/**',
      'src/media/echo/echo-kernel/**',
      'src/media/resample/fir-kernel/**',
      'src/backends/transport/base64-kernel/**',
    ],
  },
  ...tseslint.configs.recommendedTypeChecked,
  {
    plugins: { mkondo: { rules: { words, comments, descriptions, defaults, answers } } },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }],
        },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-console': 'error',
      'mkondo/words': 'error',
    },
  },
  {
    // What other packages import.
    files: ['src/backends/backend.ts', 'src/agents/tools/code-tool.ts'],
    rules: { 'mkondo/defaults': 'error' },
  },
  {
    files: ['src/**', 'bench/**'],
    rules: { 'mkondo/comments': 'error', 'mkondo/descriptions': 'error' },
  },
  { files: ['src/console/**'], rules: { 'mkondo/answers': 'error' } },
  {
    // A log line: a static message in lower case, its values in fields in snake_case.
    files: ['src/**'],
    ignores: ['src/simulator/**', 'src/vendors/**/*double.ts', 'src/cli/**'],
    rules: {
      'no-restricted-syntax': [
        'error',
        ...[
          [
            '[arguments.1.type=/^(TemplateLiteral|BinaryExpression|CallExpression)$/]',
            'The message of a log line is static: put its values into fields.',
          ],
          ['[arguments.1.value=/^[A-Z][a-z ]/]', 'The message of a log line begins in lower case.'],
          [
            ' > ObjectExpression.arguments:first-child > Property[key.name=/[A-Z]/]',
            'Fields of a log line are in snake_case.',
          ],
          [
            ' > ObjectExpression.arguments:first-child > Property[key.value=/[A-Z-]/]',
            'Fields of a log line are in snake_case.',
          ],
          [
            ' > ObjectExpression.arguments:first-child > SpreadElement ObjectExpression > Property[key.name=/[A-Z]/]',
            'Fields of a log line are in snake_case.',
          ],
        ].map(([where, message]) => ({
          selector: `CallExpression[callee.property.name=/^(trace|debug|info|warn|error|fatal)$/][arguments.length=2]${where}`,
          message,
        })),
      ],
    },
  },
  {
    // Commands, tests, benches and examples speak to a terminal.
    files: ['src/cli/**', 'test/**', 'bench/**', 'examples/**', 'grafana/**'],
    rules: { 'no-console': 'off', '@typescript-eslint/require-await': 'off' },
  },
  {
    files: ['test/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 't',
          property: 'setTimeout',
          message: 'Test files set no time limit: scripts/tests/lane.mjs does, by how slow the machine is.',
        },
      ],
    },
  },
  {
    // What a test waits for by the clock comes too late on a slow machine, and costs time on a fast one.
    files: ['test/**'],
    // The last one is a backend that misbehaves in a thread of its own, after a while.
    ignores: ['test/support/**', 'test/**/*.{slow,more}.test.ts', 'test/workers/poison-backend.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        ...[
          'CallExpression[callee.name="setTimeout"]',
          'ImportDeclaration[source.value=/timers.promises$/] > [imported.name="setTimeout"]',
          'ImportDeclaration[source.value=/conformance.harness/] > [imported.name="pause"]',
        ].map((selector) => ({
          selector,
          message:
            'A fast test does not wait by the clock. Wait for the condition (test/support/until.ts), give the class a clock or timers of the test, prove that nothing comes by what comes after it, or move the test into a *.slow.test.ts.',
        })),
      ],
    },
  },
)
