import { spawnSync } from 'child_process'
import { join } from 'path'

import test = require('tape')

import { type NetworkInterfaces, type SystemEvent, watchSystem } from '../../src/adapters/system'
import { virtualClock } from '../../src/testing'

const POLL_MS = 5_000
const LOOPBACK = { address: '127.0.0.1', internal: true }
const WLAN = { address: '192.168.1.7', internal: false }
const WLAN_6 = { address: '2001:db8::7', internal: false }
const MOBILE = { address: '10.20.30.40', internal: false }
const LINK_LOCAL = { address: 'fe80::42:1', internal: false }

const AT_HOME: NetworkInterfaces = { lo: [LOOPBACK], wlan0: [WLAN, WLAN_6] }
const NOWHERE: NetworkInterfaces = { lo: [LOOPBACK] }

function watch(start: NetworkInterfaces | Error, report?: (event: SystemEvent) => void) {
  const clock = virtualClock()
  const told: SystemEvent[] = []
  let interfaces = start
  let looks = 0
  const stop = watchSystem({
    clock,
    networkInterfaces: () => {
      looks++
      if (interfaces instanceof Error) throw interfaces
      return interfaces
    },
    report: (event) => {
      told.push(event)
      report?.(event)
    },
  })
  return {
    clock,
    stop,
    looks: () => looks,
    /** What is told within one poll after a change. */
    after: (change: NetworkInterfaces | Error): readonly SystemEvent[] => {
      interfaces = change
      clock.advance(POLL_MS)
      return told.splice(0)
    },
    told: () => told.splice(0),
  }
}

interface Row {
  readonly what: string
  readonly before: NetworkInterfaces | Error
  readonly after: NetworkInterfaces | Error
  readonly told: readonly SystemEvent[]
}

const ROWS: readonly Row[] = [
  { what: 'nothing changed', before: AT_HOME, after: AT_HOME, told: [] },
  { what: 'the last address went', before: AT_HOME, after: NOWHERE, told: ['offline'] },
  { what: 'all interfaces went', before: AT_HOME, after: {}, told: ['offline'] },
  { what: 'the first address came', before: NOWHERE, after: AT_HOME, told: ['online'] },
  { what: 'another network', before: AT_HOME, after: { lo: [LOOPBACK], rmnet0: [MOBILE] }, told: ['networkChanged'] },
  { what: 'one of two went', before: AT_HOME, after: { wlan0: [WLAN] }, told: ['networkChanged'] },
  { what: 'a second came', before: { wlan0: [WLAN] }, after: AT_HOME, told: ['networkChanged'] },
  { what: 'the same in another order', before: AT_HOME, after: { wlan0: [WLAN_6, WLAN], lo: [LOOPBACK] }, told: [] },
  { what: 'the same under another name', before: AT_HOME, after: { wlp2s0: [WLAN, WLAN_6] }, told: [] },
  { what: 'a container came', before: AT_HOME, after: { ...AT_HOME, veth1: [LINK_LOCAL] }, told: [] },
  { what: 'a link without an address of its own', before: NOWHERE, after: { eth0: [LINK_LOCAL] }, told: ['online'] },
  { what: 'which then got one', before: { eth0: [LINK_LOCAL] }, after: AT_HOME, told: ['networkChanged'] },
  { what: 'only internal addresses changed', before: NOWHERE, after: {}, told: [] },
  { what: 'an entry without addresses', before: AT_HOME, after: { ...AT_HOME, tun0: undefined }, told: [] },
  { what: 'the system does not say any more', before: AT_HOME, after: new Error('EACCES'), told: [] },
  { what: 'the system did not say at first', before: new Error('EACCES'), after: NOWHERE, told: [] },
]

for (const row of ROWS) {
  test(`the network: ${row.what}`, (t) => {
    const { after } = watch(row.before)
    t.deepEqual(after(row.after), row.told)
    t.deepEqual(after(row.after), [], 'told once')
    t.end()
  })
}

test('no interface at the start is no news: on some systems none is ever shown', (t) => {
  const { clock, told } = watch(NOWHERE)
  clock.advance(10 * POLL_MS)
  t.deepEqual(told(), [])
  t.end()
})

test('what the system told before it fell silent is compared with what it tells next', (t) => {
  const { after } = watch(AT_HOME)
  const silent = new Error('EACCES')
  t.deepEqual([after(silent), after(AT_HOME)], [[], []])
  t.deepEqual([after(silent), after(NOWHERE)], [[], ['offline']])
  t.deepEqual([after(silent), after(AT_HOME)], [[], ['online']])
  t.end()
})

test('a gap of more than 20 s beyond the interval is sleep, told once and before the rest', (t) => {
  const { clock, after, told } = watch(AT_HOME)
  clock.advance(2 * POLL_MS)
  clock.jump(20_000)
  t.deepEqual(after(AT_HOME), [], 'a busy machine')
  clock.jump(20_001)
  t.deepEqual(after(AT_HOME), ['woke'])
  t.deepEqual(after(AT_HOME), [])
  clock.jump(8 * 3_600_000)
  t.deepEqual(after({ wlan0: [MOBILE] }), ['woke', 'networkChanged'])
  clock.jump(60_000)
  t.deepEqual(after(NOWHERE), ['woke', 'offline'])
  clock.jump(-3_600_000)
  clock.advance(10 * POLL_MS)
  t.deepEqual(told(), [], 'a clock that is set back is no sleep')
  clock.jump(60_000)
  t.deepEqual(after(NOWHERE), ['woke'], 'nor does it hide one')
  t.end()
})

test('it looks once per interval, and neither looks nor tells after it was stopped', (t) => {
  const { clock, looks, stop, after } = watch(AT_HOME)
  clock.advance(60_000)
  t.equal(looks(), 13, 'at the start and every 5 s')
  t.equal(clock.pending, 1)
  stop()
  t.equal(clock.pending, 0)
  clock.jump(3_600_000)
  t.deepEqual(after(NOWHERE), [])
  t.equal(looks(), 13)
  stop()
  t.pass('stopping twice does no harm')
  t.end()
})

test('a report may stop the watch, or throw, and nothing more is told or lost', (t) => {
  const first = watch(AT_HOME, () => first.stop())
  first.clock.jump(60_000)
  t.deepEqual(first.after(NOWHERE), ['woke'], 'not the change of the network as well')
  t.equal(first.clock.pending, 0)

  let isBroken = true
  const second = watch(AT_HOME, () => {
    if (isBroken) throw new Error('broken')
  })
  t.throws(() => second.after(NOWHERE), /broken/)
  isBroken = false
  second.told()
  t.deepEqual(second.after(AT_HOME), ['online'], 'the watch goes on')
  t.end()
})

test('the watch does not keep a process alive, and reads the interfaces of the system', (t) => {
  const script = `
    const { watchSystem } = require(${JSON.stringify(join(__dirname, '../../src/adapters/system'))})
    const { systemClock } = require(${JSON.stringify(join(__dirname, '../../src/shell/clock'))})
    let looks = 0
    const os = require('os')
    const read = os.networkInterfaces
    os.networkInterfaces = () => (looks++, read())
    watchSystem({ clock: systemClock, report: (event) => console.log(event) })
    process.on('exit', () => console.log('looks', looks))`
  const loader = __filename.endsWith('.ts') ? ['--require', 'tsx/cjs'] : []
  const { stdout, stderr, status } = spawnSync(process.execPath, [...loader, '-e', script], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  t.equal(status, 0, stderr)
  t.equal(stdout, 'looks 1\n')
  t.end()
})
