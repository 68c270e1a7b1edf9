#!/usr/bin/env node
// This import comes first: an old Node can parse it, and it ends the process before Node parses the other modules.
import './old-node.cjs'

void import('./mkondo.js')
