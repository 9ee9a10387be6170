/** What `npm start` promises: real sbots, an end by itself, and a summary that says whether all messages arrived. */
import { spawn } from 'child_process'
import { join } from 'path'

import test = require('tape')

import { request } from './support/http'

const ROOT = join(__dirname, '..')

function run(
  args: readonly string[],
  /** Is given all that was printed so far, each time there is more. */
  onOutput: (output: string) => void = () => {},
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', 'src/demo/main.ts', ...args], { cwd: ROOT })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text: string) => {
        output += text
        onOutput(output)
      })
    }
    child.on('close', (code) => resolve({ code, output }))
  })
}

test('npm start -- --seconds 20 ends by itself, with a summary and exit code 0', async (t) => {
  const { code, output } = await run(['--seconds', '20', '--no-dashboard'])
  t.equal(code, 0, 'exit code')
  t.match(output, /all messages reached every peer that could be reached: 5 peers/, 'the summary')
  t.match(output, /frank, who is blocked, got nothing and was refused/, 'the blocked peer')
  t.match(output, /connected bob net:127\.0\.0\.1:\d+/, 'the peer with two routes, one of them dead')
  t.match(output, /failed erin .*ERR_DIAL_TIMEOUT/, 'the peer that hangs in the handshake')
  t.match(output, /failed dave .*ECONNREFUSED/, 'the peer that is down')
  t.match(output, /carol has gone[\s\S]*carol is back/, 'the peer that comes and goes')
  t.match(output, /^PEER +STATE +ROUTES +WHY NOT +NEXT +MESSAGES$/m, 'the table')
  t.match(output, /slots \(connected\+dialing\/max\)/, 'slots per class')
  t.match(output, /dave is down at the address that is known/, 'who has moved')
  t.notOk(output.includes('live page'), 'no page')
  t.notOk(output.includes('\x1b['), 'plain lines where the output is no terminal')
})

test('whoever gives the new address of a peer that has moved, on the page whose address is printed, reaches him', async (t) => {
  const replies: number[] = []
  let isBegun = false
  const fix = async (url: string, address: string): Promise<void> => {
    const { port, search, origin } = new URL(url)
    const entered = await request(Number(port), { path: `/${search}` })
    const act = await request(Number(port), {
      method: 'POST',
      path: '/act',
      headers: {
        Cookie: (entered.headers['set-cookie'] ?? '').split(';')[0] ?? '',
        Origin: origin,
        'Content-Type': 'application/json',
      },
      body: JSON.stringify({ action: 'connect', target: address }),
    })
    replies.push(entered.status, act.status)
  }
  const { code, output } = await run(['--seconds', '8', '--port', '0'], (so) => {
    const [, url] = /^live page: (\S+)/m.exec(so) ?? []
    const [, address] = /^dave has moved: his new address is ([^;]+);/m.exec(so) ?? []
    if (isBegun || !url || !address) return
    isBegun = true
    void fix(url, address)
  })
  t.equal(code, 0, 'exit code')
  t.deepEqual(replies, [303, 200])
  t.match(output, /connected dave net:127\.0\.0\.1:\d+/, 'connected')
  t.match(output, /^live page, once more: http/m, 'an address that is used gives way to a new one')
  t.match(output, /all messages reached every peer that could be reached: 6 peers/, 'and his messages come')
  t.match(output, /dave was reached at his new address/, 'the summary says so')
})

test('npm start says what is wrong with its arguments', async (t) => {
  for (const args of [
    ['--seconds', 'soon'],
    ['--port', '80'],
  ]) {
    const { code, output } = await run(args)
    t.equal(code, 2, `exit code of ${args.join(' ')}`)
    t.match(output, /usage: npm start/, 'usage')
  }
})
