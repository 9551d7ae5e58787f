# Debian's Ruby libraries as clients of the echo example. Started by ../run.
#
#     ruby peer.rb ECHO_URL SECURE_PROXY_ECHO_URL MAX_MESSAGE_BYTES
#
# `websocket` (1.2.9) implements hixie-75, hixie-76 and the hybi drafts. It is not used for hybi-01, -02, -05 and -06,
# because its framing of these drafts is wrong: that of hixie for -01 and -02, and that of hybi-07 for -05 and -06.
# `websocket-driver` and `faye-websocket` implement version 13.

require 'socket'
require 'timeout'
require 'uri'
require 'websocket'
require 'websocket/driver'
require 'faye/websocket'
require 'eventmachine'

ECHO, SECURE_PROXY, MAX_MESSAGE = URI(ARGV[0]), URI(ARGV[1]), Integer(ARGV[2])
TIMEOUT = 20 # seconds, for each check
MULTIBYTE = 'κόσμε – Grüße, 日本語, 🦀' * 200

CHECKS = []

def check(name, &body)
  CHECKS << [name, body]
end

def equal(got, expected)
  raise "expected #{expected.inspect[0, 120]}, got #{got.inspect[0, 120]}" unless got == expected
end

# A client with the gem `websocket` on a blocking socket.
class Client
  attr_reader :handshake

  def initialize(version, url: ECHO, **options)
    @version = version
    @socket = TCPSocket.new(url.host, url.port)
    @handshake = WebSocket::Handshake::Client.new(
      url: "ws://#{url.host}:#{url.port}/demo?a=1", version: version, origin: 'http://example.com', **options
    )
    @socket.write(@handshake.to_s)
    @head = +''
    @head << @socket.readpartial(1) until @head.end_with?("\r\n\r\n")
    @proof = [76, 1, 2, 3].include?(version) ? @socket.read(16) : ''.b
    @handshake << @head
    raise "no handshake: #{@head}" unless @handshake.finished? && @handshake.error.nil?

    handler = @handshake.instance_variable_get(:@handler)
    # The gem expects a line before the proof that servers do not send, so its computed proof is compared here.
    equal(@proof.strip, handler.send(:challenge)) unless @proof.empty?
    handler.send(:verify_protocol)
    @frames = WebSocket::Frame::Incoming::Client.new(version: version)
  end

  def send_frame(type, data = '', code: nil)
    frame = WebSocket::Frame::Outgoing::Client.new(version: @version, type: type, data: data, code: code)
    bytes = frame.to_s
    raise "the gem cannot encode #{type}: #{frame.error}" if bytes.nil? || bytes.empty?

    @socket.write(bytes)
  end

  def raw(bytes)
    @socket.write(bytes)
  end

  # The next frame, decoded by the gem.
  def receive
    loop do
      frame = @frames.next
      raise "the gem fails to decode the frame: #{@frames.error}" if @frames.error?
      return frame if frame

      @frames << @socket.readpartial(65_536)
    end
  end

  # Whether the server closes the connection without sending more data.
  def closed?
    @socket.read.empty?
  rescue Errno::ECONNRESET
    false
  end

  def header(name)
    @handshake.headers[name]
  end
end

BINARY = [3, 7, 8, 13]

[75, 76, 3, 7, 8, 13].each do |version|
  check("version #{version}: the handshake with a subprotocol is valid") do
    client = Client.new(version, protocols: ['chat'])
    name = version == 75 ? 'websocket-protocol' : 'sec-websocket-protocol'
    equal(client.header(name), 'chat')
    if [75, 76, 3].include?(version)
      prefix = version == 75 ? 'websocket' : 'sec-websocket'
      equal(client.header("#{prefix}-origin"), 'http://example.com')
      equal(client.header("#{prefix}-location"), "ws://127.0.0.1:#{ECHO.port}/demo?a=1")
    end
  end

  check("version #{version}: text of every length encoding is echoed") do
    client = Client.new(version)
    ['Hello', '', 'x' * 125, 'x' * 126, 'x' * 65_535, 'x' * 65_536, MULTIBYTE, 'x' * 1_000_000].each do |text|
      client.send_frame(:text, text)
      frame = client.receive
      equal([frame.type, frame.to_s.dup.force_encoding('UTF-8')], [:text, text])
    end
  end

  if BINARY.include?(version)
    check("version #{version}: binary of every length encoding is echoed") do
      client = Client.new(version)
      [0, 1, 125, 126, 256, 65_535, 65_536, MAX_MESSAGE].each do |size|
        bytes = Random.bytes(size)
        client.send_frame(:binary, bytes)
        frame = client.receive
        equal([frame.type, frame.to_s.b], [:binary, bytes])
      end
    end

    check("version #{version}: a ping is answered with its payload") do
      client = Client.new(version)
      ['', 'are you there?', 'p' * 125].each do |payload|
        client.send_frame(:ping, payload)
        frame = client.receive
        equal([frame.type, frame.to_s], [:pong, payload])
      end
      client.send_frame(:pong, 'unsolicited')
      client.send_frame(:text, 'still here')
      equal(client.receive.to_s, 'still here')
    end
  end

  check("version #{version}: a close gets a reply, and the server closes the connection") do
    client = Client.new(version)
    client.send_frame(:text, 'last')
    if version >= 7 && version <= 13
      client.send_frame(:close, 'enough', code: 4001)
    else
      client.send_frame(:close)
    end
    equal(client.receive.to_s, 'last')
    frame = client.receive
    equal(frame.type, :close)
    equal(frame.code, 4001) if version >= 7 && version <= 13
    equal(client.closed?, true)
  end

  check("version #{version}: text that is not UTF-8 ends the connection") do
    client = Client.new(version)
    case version
    when 75, 76 then client.raw("\x00bad \xc0\xff".b)
    when 3 then client.raw("\x04\x05bad \xc0".b)
    else client.raw("\x81\x85\0\0\0\0bad \xc0".b)
    end
    unless [75, 76].include?(version)
      frame = client.receive
      equal(frame.type, :close)
      equal(frame.code, 1007) if version >= 7
    end
    equal(client.closed?, true)
  end
end

[75, 76, 3].each do |version|
  check("version #{version}: with secure_proxy, the location is wss") do
    client = Client.new(version, url: SECURE_PROXY)
    prefix = version == 75 ? 'websocket' : 'sec-websocket'
    equal(client.header("#{prefix}-location"), "wss://127.0.0.1:#{SECURE_PROXY.port}/demo?a=1")
    client.send_frame(:text, 'Hello')
    equal(client.receive.to_s, 'Hello')
  end
end

# The WebSocket emulation in Flash requests the policy on a separate connection, and then uses hixie-76 with an empty
# cookie.
check('the WebSocket emulation in Flash gets its policy and its echo') do
  socket = TCPSocket.new(ECHO.host, ECHO.port)
  socket.write("<policy-file-request/>\0")
  policy = socket.read
  allowed = policy.include?('<allow-access-from domain="*" to-ports="*"/>')
  raise policy unless allowed && policy.end_with?('</cross-domain-policy>')

  socket = TCPSocket.new(ECHO.host, ECHO.port)
  socket.write("GET /chat HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n" \
               "Host: #{ECHO.host}:#{ECHO.port}\r\n" \
               "Origin: http://example.com\r\nCookie: \r\nSec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n" \
               "Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\r\n")
  socket.write('^n:ds[4U')
  head = +''
  head << socket.readpartial(1) until head.end_with?("\r\n\r\n")
  equal(head.lines.first, "HTTP/1.1 101 WebSocket Protocol Handshake\r\n")
  equal(socket.read(16), "8jKS'y:G*Co,Wxa-")
  socket.write("\x00Hello\xff".b)
  equal(socket.read(7), "\x00Hello\xff".b)
  socket.write("\xff\x00".b)
  equal(socket.read, "\xff\x00".b)
end

# The socket object that `websocket-driver` requires, on a blocking socket.
class DriverSocket
  attr_reader :url

  def initialize(url)
    @url = url.to_s
    @tcp = TCPSocket.new(url.host, url.port)
  end

  def write(bytes)
    @tcp.write(bytes)
  end

  def read
    @tcp.readpartial(65_536)
  rescue EOFError
    nil
  end
end

check('websocket-driver, version 13: messages, a ping and a close') do
  socket = DriverSocket.new(ECHO)
  driver = WebSocket::Driver.client(socket, max_length: 8 << 20, protocols: ['chat'])
  messages, closed = [], nil
  large = Random.bytes(1_000_000).bytes
  driver.on(:open) do
    driver.text('Hello')
    driver.text(MULTIBYTE)
    driver.binary(large)
    driver.ping('are you there?') { driver.close('done', 4001) }
  end
  driver.on(:message) { |event| messages << event.data }
  driver.on(:close) { |event| closed = [event.code, event.reason] }
  driver.on(:error) { |event| raise event.message }
  driver.start
  while closed.nil? && (bytes = socket.read)
    driver.parse(bytes)
  end
  equal(driver.protocol, 'chat')
  equal(messages, ['Hello', MULTIBYTE, large])
  equal(closed, [4001, ''])
end

check('faye-websocket on EventMachine, version 13: messages, a ping and a close') do
  messages, closed, octets = [], nil, [0, 1, 254, 255]
  EM.run do
    EM.add_timer(TIMEOUT - 1) { EM.stop }
    client = Faye::WebSocket::Client.new(ECHO.to_s, ['chat'], ping: 1)
    client.on(:open) do
      [MULTIBYTE, 'Hello', '', octets].each { |message| client.send(message) }
      client.ping('are you there?') { client.close(3001, 'done') }
    end
    client.on(:message) { |event| messages << event.data }
    client.on(:close) do |event|
      closed = event.code
      EM.stop
    end
  end
  equal([messages, closed], [[MULTIBYTE, 'Hello', '', octets], 3001])
end

failed = 0
CHECKS.each do |name, body|
  started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  begin
    Timeout.timeout(TIMEOUT) { body.call }
    seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
    puts format('ok      ruby: %s (%.1f s)', name, seconds)
  rescue StandardError => error
    failed += 1
    puts "FAILED  ruby: #{name}: #{error.class}: #{error.message[0, 500]}"
  end
  $stdout.flush
end
exit(failed.zero? ? 0 : 1)
