# Rails' ActionCable without a Rails application: rackup file for puma.
require "logger"
require "action_cable"

class Connection < ActionCable::Connection::Base; end

class ChatChannel < ActionCable::Channel::Base
  def subscribed
    stream_from "chat:#{params[:room]}"
  end

  def speak(data)
    ActionCable.server.broadcast("chat:#{params[:room]}", { body: data["body"] })
  end
end

config = ActionCable.server.config
config.cable = { "adapter" => "async" }
config.connection_class = -> { Connection }
config.disable_request_forgery_protection = true
config.logger = Logger.new(IO::NULL)
config.log_tags = []

run ActionCable.server
