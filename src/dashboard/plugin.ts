/**
 * The plugin `dashboard`: the live page of a stack's connection manager. The server and what it needs are loaded when the page
 * is first served.
 */
import createDebug = require('debug')

import type { Sbot } from '../adapters/sbot'
import { systemClock } from '../shell/clock'
import type { Dashboard } from './service'
import { type DashboardSettings, readDashboardSettings } from './settings'

const debug = createDebug('ssb:connection-manager:dashboard')

/** The manifest types are behaviour: secret-stack wraps methods by them. */
const manifest = { url: 'async', start: 'async', stop: 'async', status: 'sync' } as const

/** Strangers may call nothing: whoever gets an address steers the sbot. */
const permissions = { anonymous: { allow: [] as string[] } }

/** secret-stack calls it. Throws InvalidArgumentError where the config is not what it has to be. */
function init(sbot: object, config: object): Dashboard {
  const settings: DashboardSettings = readDashboardSettings(config)
  const { createDashboard } = require('./service') as typeof import('./service')
  const stack = sbot as Sbot
  return createDashboard({
    sbot: stack,
    settings,
    clock: systemClock,
    log: (message) => {
      debug('%s', message)
      stack.emit?.('log:warning', ['dashboard', '', message])
    },
    print: (line) => console.log(line),
  })
}

export const plugin = { name: 'dashboard', version: '1.0.0', manifest, permissions, init }
