# Rails' ActionCable as another process at the same Redis. Commands come by standard input, and answers leave by
# standard output: ruby rails.rb URL PREFIX
require "logger"
require "active_support/all"
require "action_cable"
require "redis"
require "json"

url, prefix = ARGV
$stdout.sync = true

class Connection < ActionCable::Connection::Base
  identified_by :current_user
end

server = ActionCable.server
server.config.logger = Logger.new(File::NULL)
server.config.connection_class = -> { Connection }
server.config.cable = { "adapter" => "redis", "url" => url, "channel_prefix" => prefix }.with_indifferent_access

$stdin.each_line do |line|
  command, stream, argument = JSON.parse(line)
  case command
  when "broadcast" then server.broadcast(stream, argument)
  when "broadcast_many" then argument.times { |number| server.broadcast(stream, { body: number }) }
  when "disconnect" then server.remote_connections.where(current_user: stream).disconnect
  when "listen"
    server.pubsub.subscribe(stream, ->(message) { puts ["message", message].to_json }, -> { puts ["listening"].to_json })
  end
end
