/** ssb-server, with the encryption that it had built in when the tests that ask for it were written. */
import server = require('ssb-server')

export = server.createSsbServer().use(require('ssb-private1'))
