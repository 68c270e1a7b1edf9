#!/usr/bin/env node
import { run } from './program.js'
import { PROCESS_TERMINAL } from './terminal.js'

// `mkondo check | head -1`: nobody reads the rest. The command still ends as it would, with its own exit code.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

process.exitCode = await run(process.argv.slice(2), PROCESS_TERMINAL)
