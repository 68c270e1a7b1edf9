#!/usr/bin/env node
import { run } from './program.js'
import { PROCESS_TERMINAL } from './terminal.js'

process.exitCode = await run(process.argv.slice(2), PROCESS_TERMINAL)
