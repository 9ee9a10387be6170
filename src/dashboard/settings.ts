/** `config.dashboard`, checked: in either layout of the config it is a section of its own. */
import { memberOf } from '../adapters/members'
import { InvalidArgumentError } from '../core/errors'

export interface DashboardSettings {
  /** Serve with the stack, and print the address. Default false: then only `dashboard.start()` serves. */
  readonly isEnabled: boolean
  /** Loopback only. Default 127.0.0.1. */
  readonly host: '127.0.0.1' | '::1'
  /** Default 8990, beside what SSB has on 8008 and 8989. 0: any free one. */
  readonly port: number
  /** For `GET /metrics` without a session; null: there is no such way in. */
  readonly metricsToken: string | null
}

export const DEFAULT_PORT = 8990
/** Those below are the system's; browsers leave 80 out of the Host header, which is to be what it says. */
const MIN_PORT = 1_024
const MAX_PORT = 65_535
/** A secret that can be guessed is none. */
const METRICS_TOKEN = /^[\w.~+/=-]{20,200}$/

/** The options with defaults. Throws InvalidArgumentError; what is not known is a slip, as nobody else shares this section. */
export function readDashboardSettings(config: unknown): DashboardSettings {
  const given = memberOf(config, 'dashboard')
  if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given)))
    throw new InvalidArgumentError('dashboard', 'an object such as {enabled: true, port: 8990}', given)
  const section = (given ?? {}) as Readonly<Record<string, unknown>>
  for (const name of Object.keys(section))
    if (!['enabled', 'host', 'port', 'metricsToken'].includes(name))
      throw new InvalidArgumentError('dashboard', 'enabled, host, port and metricsToken only', name)
  const { enabled, host, port, metricsToken } = section
  return {
    isEnabled: readEnabled(enabled),
    host: readHost(host),
    port: readPort(port),
    metricsToken: readMetricsToken(metricsToken),
  }
}

/** The command line hands on text. */
function readEnabled(value: unknown): boolean {
  if (value === undefined || value === false || value === 'false') return false
  if (value === true || value === 'true') return true
  throw new InvalidArgumentError('dashboard.enabled', 'true or false', value)
}

function readHost(value: unknown): DashboardSettings['host'] {
  if (value === undefined || value === '127.0.0.1' || value === 'localhost') return '127.0.0.1'
  if (value === '::1' || value === '[::1]') return '::1'
  throw new InvalidArgumentError(
    'dashboard.host',
    '127.0.0.1 or ::1: the page steers the sbot and is for this machine only',
    value,
  )
}

function readPort(value: unknown): number {
  if (value === undefined) return DEFAULT_PORT
  const port = typeof value === 'string' && value !== '' ? Number(value) : value
  if (typeof port === 'number' && Number.isInteger(port)) {
    if (port === 0 || (port >= MIN_PORT && port <= MAX_PORT)) return port
  }
  throw new InvalidArgumentError('dashboard.port', `0 for any, or a port from ${MIN_PORT} to ${MAX_PORT}`, value)
}

function readMetricsToken(value: unknown): string | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string' && METRICS_TOKEN.test(value)) return value
  // Not the value itself: what was given may be most of a secret, and errors end in logs.
  throw new InvalidArgumentError(
    'dashboard.metricsToken',
    '20 to 200 letters, digits and any of _ - . ~ + / =',
    typeof value === 'string' ? 'other text' : value,
  )
}
