#!/usr/bin/env node
/** The command line `sbot-connections`: gives the real process to program.ts. */
import { homedir } from 'os'

import { systemClock } from '../shell/clock'
import { run } from './program'
import { EXIT } from './settings'

/** What still holds a socket or a timer by then is not waited for. */
const END_LIMIT_MS = 500

const interrupted = new Promise<void>((resolve) => {
  let isAsked = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      // Whoever asks twice does not want to wait for a good end.
      if (isAsked) process.exit(EXIT.interrupted)
      isAsked = true
      resolve()
    })
})

void run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  // Made when it is read.
  get stdin() {
    return process.stdin
  },
  env: process.env,
  home: homedir(),
  cwd: process.cwd(),
  clock: systemClock,
  interrupted,
}).then((exitCode) => {
  process.exitCode = exitCode
  setTimeout(() => process.exit(), END_LIMIT_MS).unref()
})
